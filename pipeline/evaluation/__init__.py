"""How good masks are, and which ones a person should see."""
