"""The agent that turns an ECS instance into a ComfyUI node.

Runs as root on the node, from one file (a zipapp made by infra/node/render.py), with the
Python of the image (3.10 or later) and nothing outside the standard library.
"""
