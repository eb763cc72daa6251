"""An emulator of the part of Alibaba Cloud's OpenAPI that this project uses.

Start it with ``python -m rehearsal.cloud serve``; README.md says what it does and does not do.
"""
