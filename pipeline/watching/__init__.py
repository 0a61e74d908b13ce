"""What Airflow's triggerer waits for; of other packages it imports Airflow and PyYAML alone."""
