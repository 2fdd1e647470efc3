"""Runs whose replies come from a server."""
