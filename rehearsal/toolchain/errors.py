"""What can go wrong while tools are provided.

ToolchainError
├── CommandError     a program that was run ended with an error
├── DownloadError    a file could not be had, or is not what it should be
└── StoppedError       somebody asked this run to stop
"""

from __future__ import annotations

from collections.abc import Sequence


class ToolchainError(Exception):
    """A tool cannot be provided; the message says why and what to do."""


class CommandError(ToolchainError):
    """A program ended with an error; the message carries the last lines that it wrote."""

    def __init__(self, command: Sequence[str], status: int, output: str, lines: int = 15) -> None:
        tail = "\n".join("    " + line for line in output.strip().splitlines()[-lines:])
        super().__init__(
            f"`{' '.join(command)}` ended with status {status}:\n{tail or '    (no output)'}"
        )
        self.status = status
        self.output = output


class DownloadError(ToolchainError):
    """A file could not be downloaded, or its content has another checksum than published."""


class StoppedError(ToolchainError):
    """The run was told to stop; nothing half-made was kept."""
