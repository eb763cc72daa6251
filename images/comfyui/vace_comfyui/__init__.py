"""What runs in the ComfyUI container: start it only where it can work, watch it, answer for it."""
