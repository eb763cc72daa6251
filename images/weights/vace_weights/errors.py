"""Errors of fetching and verifying weights.

WeightsError                    anything that stops a command; the message is for the operator
├── ManifestError               the manifest is absent, malformed or incomplete
└── FetchError                  a file could not be brought whole into the folder
    ├── SourceError             one source failed; the next one is tried
    │   ├── SourceConfigError   the source cannot be used at all (scheme, missing endpoint)
    │   ├── UnreachableError    no connection, or it broke before an answer came
    │   ├── ServerStatusError   an HTTP status that is no success (404, 403, 503 and so on)
    │   ├── RedirectError       a redirect loop, or a redirect to a place that is refused
    │   ├── WebPageError        a mirror answered with a web page instead of the file
    │   ├── WrongSizeError      the source offers a file of another size
    │   ├── ChangedFileError    the file changed under the same name while it was being read
    │   ├── ShortBodyError      the body ended before its promised length
    │   ├── RangeError          an answer to a range request that does not fit the request
    │   ├── StalledError        no byte, or too few, came in the time limit
    │   └── WrongBytesError     all bytes came, but their SHA-256 is not the expected one
    ├── AllSourcesFailedError   every source failed; carries each one's error
    ├── DiskSpaceError          too little room before the first byte, or the disk filled up
    ├── FolderError             the folder cannot be written, locked or synced
    ├── UnstableFileError       a file was changed while it was being hashed
    └── VerificationError       a file under its final name does not match the manifest

A message says which file, what was expected, what came and what to do. `transient` says that
trying the same source again can help.
"""

from __future__ import annotations

from collections.abc import Sequence


class WeightsError(Exception):
    """A command on weights cannot go on."""


class ManifestError(WeightsError):
    """A manifest cannot be used; lists every problem found."""

    def __init__(self, source: str, problems: Sequence[str], advice: str) -> None:
        self.problems = list(problems)
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"the weights manifest {source} is not usable:{lines}\n{advice}")


class FetchError(WeightsError):
    """A file could not be brought whole and verified into the folder."""


class SourceError(FetchError):
    """One source failed for one file; the next source is tried.

    Four parts: what was expected, what came, what it means, what to do.
    `retry_after_s` is what the server asked for, where it did.
    """

    transient = False

    def __init__(
        self,
        *,
        file: str,
        source: str,
        expected: str,
        came: str,
        advice: str,
        retry_after_s: float | None = None,
    ) -> None:
        self.file = file
        self.source = source
        self.expected = expected
        self.came = came
        self.advice = advice
        self.retry_after_s = retry_after_s
        super().__init__(f"{file} from {source}: expected {expected}, got {came}. {advice}")


class SourceConfigError(SourceError):
    """The source is written in a way that cannot be used."""


class UnreachableError(SourceError):
    """No connection to the source, or it broke before an answer came."""

    transient = True


class ServerStatusError(SourceError):
    """The server answered with a status that is no success."""

    def __init__(
        self,
        *,
        file: str,
        source: str,
        expected: str,
        came: str,
        advice: str,
        retry_after_s: float | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(
            file=file,
            source=source,
            expected=expected,
            came=came,
            advice=advice,
            retry_after_s=retry_after_s,
        )
        self.status = status
        self.transient = status in {408, 425, 429, 500, 502, 503, 504}


class RedirectError(SourceError):
    """The source redirects in a loop, or to a place that is refused."""


class WebPageError(SourceError):
    """A mirror answered with a web page instead of the file."""


class WrongSizeError(SourceError):
    """The source offers a file of another size than the manifest's."""


class ChangedFileError(SourceError):
    """The file changed under the same name while it was being read."""


class ShortBodyError(SourceError):
    """A body ended before its promised length."""

    transient = True


class RangeError(SourceError):
    """An answer to a range request that does not fit what was asked for."""


class StalledError(SourceError):
    """The connection gave no byte for the time limit, or fewer than the least rate asks for."""

    transient = True


class WrongBytesError(SourceError):
    """All bytes came, but their SHA-256 is not the expected one."""


class AllSourcesFailedError(FetchError):
    """Every source of a file failed; `errors` holds each one's last error, in order."""

    def __init__(self, file: str, errors: Sequence[SourceError]) -> None:
        self.file = file
        self.errors = list(errors)
        lines = "".join(f"\n  - {error}" for error in errors)
        super().__init__(
            f"{file} could not be fetched from any of its {len(errors)} sources:{lines}\n"
            "What arrived intact is kept: run the same command again to go on from there, or put "
            "a source of your own first (--source KIND:PLACE or VACE_WEIGHT_SOURCES)."
        )


class DiskSpaceError(FetchError):
    """The disk has too little room, seen before the first byte or when it filled up."""


class FolderError(FetchError):
    """The target folder cannot be written, locked or synced."""


class UnstableFileError(FetchError):
    """A file was changed while it was being hashed: its hash says nothing."""


class VerificationError(FetchError):
    """A file under its final name does not match the manifest; lists every such file."""
