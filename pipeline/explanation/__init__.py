"""What an answer of a network rests on: maps over a radiograph that passed a sanity check."""
