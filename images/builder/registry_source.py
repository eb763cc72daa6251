"""One image of a registry, read as ``images.builder.oci`` reads layouts and archives."""

from __future__ import annotations

import io
from typing import BinaryIO

from images.builder.oci import Descriptor
from images.builder.references import Reference
from images.builder.registry import MANIFEST_TYPES, Registry


class RegistrySource:
    """One image of a registry, for ``images.builder.oci.load_image``."""

    def __init__(self, registry: Registry, reference: Reference) -> None:
        self._registry = registry
        self._reference = reference

    @property
    def name(self) -> str:
        """The reference."""
        return str(self._reference)

    def images(self) -> list[Descriptor]:
        """The one manifest that the reference names. Raises RegistryError."""
        selector = self._reference.selector
        return [self._registry.get_manifest(self._reference.repository, selector)[0]]

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """A manifest or blob of the image. Raises RegistryError."""
        repository = self._reference.repository
        if descriptor.media_type in MANIFEST_TYPES:
            return io.BytesIO(self._registry.get_manifest(repository, descriptor.digest)[1])
        return self._registry.open_blob(repository, descriptor)
