"""What can go wrong with a registry.

RegistryError (an ArtifactError)
├── RegistryUnreachableError   no answer: name, port, certificate, network
├── RegistryAccessError        401 or 403: credentials are missing or not enough
├── RegistryMissingError       404: no such repository, manifest or blob
├── RegistryAnswerError        any other status, or an answer that makes no sense
└── RegistryDigestError        bytes that do not have the digest that names them
"""

from __future__ import annotations

from images.builder.errors import ArtifactError


class RegistryError(ArtifactError):
    """A registry did not do what was asked."""


class RegistryUnreachableError(RegistryError):
    """There was no answer."""


class RegistryAccessError(RegistryError):
    """The registry wants other credentials."""


class RegistryMissingError(RegistryError):
    """The registry does not have it."""


class RegistryAnswerError(RegistryError):
    """The answer is an error, or not understood."""


class RegistryDigestError(RegistryError):
    """Content and digest do not belong together."""
