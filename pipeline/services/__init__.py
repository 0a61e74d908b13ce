"""The local MLflow and Airflow, and Airflow's REST API."""
