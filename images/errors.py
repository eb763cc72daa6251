"""Errors of the image tools, as one tree.

ImagesError
├── PinsError            pins.toml says something impossible, or cannot be read
├── LockError            pins.lock.json is damaged or was edited by hand
│   └── LockStaleError   pins.toml or requirements changed after the lock was written
├── ResolveError         a pin cannot be resolved to bytes
│   └── UnreachableError the network, or a tool, that knows the answer is not there
├── RenderError          a template cannot be rendered
│   └── RenderStaleError a committed Containerfile differs from what the templates give
└── VariantError         no variant fits a GPU and its driver (images/variants.py)

Messages say four things: what was given, what is allowed, why, and what to do.
"""

from __future__ import annotations


class ImagesError(Exception):
    """Something about the images is wrong; the message is for the person who builds them."""


class PinsError(ImagesError):
    """``pins.toml`` is not usable."""


class LockError(ImagesError):
    """``pins.lock.json`` is missing, damaged, or contradicts itself."""


class LockStaleError(LockError):
    """The lock was written from other pins than those in the working tree."""


class ResolveError(ImagesError):
    """A pin could not be resolved to bytes."""


class UnreachableError(ResolveError):
    """Whoever knows the answer cannot be asked from here."""


class RenderError(ImagesError):
    """A template could not be rendered."""


class RenderStaleError(RenderError):
    """A rendered Containerfile in the repository is not what the templates and the lock give."""
