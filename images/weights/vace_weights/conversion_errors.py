"""Errors of converting and generating weights.

WeightsError                         (errors.py) anything that stops a command
└── ConversionError                  a file could not be converted or generated
    ├── SafetensorsError             the source is no whole, honest safetensors file
    │   ├── HeaderError              the header cannot be decoded, or contradicts itself
    │   ├── TruncatedError           the file ends before its header says
    │   └── TensorTypeError          a data type that the format or the converter does not know
    ├── ArchitectureError            the tensors are not those of a Wan VACE model
    ├── AlreadyQuantisedError        the source is FP8 (or otherwise quantised) already
    ├── NotFiniteError               NaN or infinity in a tensor
    ├── SourceChangedError           the source was written to while it was being read
    ├── FormError                    a form that does not exist
    └── TargetError                  the result cannot be written where it was asked for
        ├── SameFileError            source and target are one file
        ├── TargetBusyError          another conversion writes the same target
        └── TargetFullError          too little room, seen before the first byte or when it ran out

Every message has four parts: what was given, what is allowed, why, and what to do.
"""

from __future__ import annotations

from vace_weights.errors import WeightsError


class ConversionError(WeightsError):
    """A file could not be converted or generated; nothing stands under the target's name."""

    def __init__(self, *, given: str, allowed: str, why: str, advice: str) -> None:
        self.given = given
        self.allowed = allowed
        self.why = why
        self.advice = advice
        super().__init__(f"{given}. Allowed: {allowed}. Why: {why}. {advice}")


class SafetensorsError(ConversionError):
    """A file is no whole, honest safetensors file."""


class HeaderError(SafetensorsError):
    """A header cannot be decoded, or its offsets, shapes and types contradict one another."""


class TruncatedError(SafetensorsError):
    """A file ends before its header says."""


class TensorTypeError(SafetensorsError):
    """A tensor's data type is not known to the format, or not one that can be converted."""


class ArchitectureError(ConversionError):
    """The tensors are not those of a Wan VACE model, or a model of impossible dimensions."""


class AlreadyQuantisedError(ConversionError):
    """The source is quantised already; a second rounding would only lose precision."""


class NotFiniteError(ConversionError):
    """A tensor holds NaN or infinity; `tensor` and `index` say where the first one is."""

    def __init__(  # the place is for programs, the four parts for people
        self,
        *,
        tensor: str,
        index: tuple[int, ...],
        given: str,
        allowed: str,
        why: str,
        advice: str,
    ) -> None:
        super().__init__(given=given, allowed=allowed, why=why, advice=advice)
        self.tensor = tensor
        self.index = index


class SourceChangedError(ConversionError):
    """The source was written to while it was being read."""


class FormError(ConversionError):
    """A form of the result that does not exist."""


class TargetError(ConversionError):
    """The result cannot be written where it was asked for."""


class SameFileError(TargetError):
    """Source and target are one file."""


class TargetBusyError(TargetError):
    """Another process writes the same target now."""


class TargetFullError(TargetError):
    """The disk has too little room, seen before the first byte or when it filled up."""
