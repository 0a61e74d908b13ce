"""What can be trained on, what looks odd, and the pages that show it."""
