"""Tests of the workflows that the service ships."""
