"""Synthetic radiographs with exact masks."""
