"""The store of build results; shared with the builder of the images."""

from __future__ import annotations

from images.builder.cache import (
    Cache,
    Entry,
    content_key,
    default_cache_folder,
    free_gib,
    remove_tree,
)

__all__ = [
    "Cache",
    "Entry",
    "content_key",
    "default_cache_folder",
    "free_gib",
    "remove_tree",
]
