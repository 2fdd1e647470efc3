"""Who writes the replies of a run: a model here, or workers on Ray."""
