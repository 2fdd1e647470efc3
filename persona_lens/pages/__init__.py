"""Pages for the browser, each of one file."""
