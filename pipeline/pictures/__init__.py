"""What people see: overlays, charts, pages; knows no dataset."""
