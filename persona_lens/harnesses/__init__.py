"""Other people's evaluation harnesses, run on a model with a plan acting on it."""
