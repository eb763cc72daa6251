"""Reusable parts of a deployment, one a file."""
