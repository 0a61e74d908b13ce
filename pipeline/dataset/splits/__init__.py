"""Which radiographs belong together, and the proof that no split shares them."""
