"""What Airflow's triggerer waits for; imports Airflow, PyYAML and the standard library alone."""
