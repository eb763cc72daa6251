"""Finds, downloads or builds the tools behind a rehearsal, with nothing but the standard library.

It runs before anything is installed, so no module here may import a third-party package (the
language host does: it is a program that the Pulumi engine starts later, inside `.venv`).
"""
