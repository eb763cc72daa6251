"""What each target is made of, one a file."""
