"""The MLflow record of a run, the gate, promotion and the history of releases."""
