"""Who uses a released model."""
