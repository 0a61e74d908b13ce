"""What predicts: the exported network on OpenVINO, and the released model that carries it."""
