"""Errors of the node agent.

NodeError                 anything that stops a step; the message is written for the operator
├── SettingsError         node.json, the settings Parameter or a secret has a wrong form
├── CloudError            an Alibaba Cloud call failed; carries the error code
├── CommandError          a program on the node failed
│   └── PackageError      a package could not be installed; says whether the mirrors lack it
├── RebootError           the machine is being restarted; the next run goes on
└── DiskError             the data disk is absent or holds something that must not be overwritten

A permanent error does not go away by trying again: `wait` reports it at once instead of at
its deadline.
"""

from __future__ import annotations


class NodeError(Exception):
    """A step cannot go on. `permanent` says that trying again will not help."""

    permanent = False

    def __init__(self, message: str, *, permanent: bool | None = None) -> None:
        super().__init__(message)
        if permanent is not None:
            self.permanent = permanent


class SettingsError(NodeError):
    """A document that the deployment wrote has a wrong form; lists every problem."""

    permanent = True

    def __init__(self, source: str, problems: list[str]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{source} is not usable:{lines}\nCorrect it with the deployment tool.")


class CloudError(NodeError):
    """An Alibaba Cloud API refused a call or could not be reached.

    `code` is the provider's error code, or "" when no answer came.
    """

    def __init__(self, message: str, *, code: str = "", permanent: bool | None = None) -> None:
        super().__init__(message, permanent=permanent)
        self.code = code


class CommandError(NodeError):
    """A program failed; carries its exit status (None: it ran past its limit) and output."""

    def __init__(self, message: str, *, status: int | None, output: str) -> None:
        super().__init__(message)
        self.status = status
        self.output = output


class PackageError(CommandError):
    """Packages could not be installed.

    `lacking`: the mirrors answered and have them not, or in no versions that fit together. Trying
    again will not help, but other packages may.
    """

    def __init__(self, message: str, *, output: str, lacking: bool) -> None:
        super().__init__(message, status=None, output=output)
        self.lacking = lacking


class RebootError(NodeError):
    """The machine is about to be restarted; the run at its next boot goes on."""


class DiskError(NodeError):
    """The data disk is missing or must not be touched."""
