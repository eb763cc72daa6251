"""Tests of the simulated ComfyUI."""
