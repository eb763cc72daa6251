"""Errors of what stands in for the outside world in a rehearsal build.

SupplyError
├── RepositoryError   a git repository could not be made
└── WeightsError      the generated weights could not be made or prepared
"""

from __future__ import annotations

from images.builder.errors import ArtifactError


class SupplyError(ArtifactError):
    """Something that a rehearsal build takes from elsewhere could not be made here."""


class RepositoryError(SupplyError):
    """git failed while it made a repository."""


class WeightsError(SupplyError):
    """The weights of a rehearsal could not be generated or prepared."""
