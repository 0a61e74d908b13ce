"""Workspaces of DAG runs and the local services."""
