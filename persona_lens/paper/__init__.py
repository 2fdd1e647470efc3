"""The paper, for your model: all of its experiments as one command, and a report beside what it published."""
