"""One run of the pipeline: its tasks, by a scheduler or in this process."""
