"""The MLflow run record of a run, live and when it has ended."""
