"""Augmented copies of a training pair, and a picture of what they look like."""
