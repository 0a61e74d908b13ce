"""The versions of the dataset that git and DVC record, and how they differ."""
