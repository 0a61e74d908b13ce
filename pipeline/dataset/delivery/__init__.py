"""Deliveries of radiographs: checked, put into data/ and given to DVC, all or nothing."""
