"""The versions of the dataset that git and DVC keep, and how they differ."""
