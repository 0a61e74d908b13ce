"""Deliveries of radiographs: checked, put into data/ and recorded, all or nothing."""
