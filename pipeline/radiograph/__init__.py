"""One radiograph or mask: read, judged, and fitted to a network."""
