"""A search over parameter sets: trials on the same data, judged on the validation split."""
