"""The stages of dvc.yaml, one module each, in the order data flows."""
