"""Versioned, explainable retraining of lung segmentation on chest radiographs."""
