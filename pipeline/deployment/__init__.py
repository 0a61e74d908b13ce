"""A deployment on several hosts: its links looked at, made ready, backed up, cleaned."""
