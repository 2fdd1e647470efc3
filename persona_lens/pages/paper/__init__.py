"""The report of the paper on one model: a page of one file."""
