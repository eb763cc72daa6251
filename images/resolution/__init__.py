"""Resolving pins to bytes: one module for each kind of source. The only code here that asks out."""
