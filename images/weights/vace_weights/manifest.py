"""The weights manifest: which files, from where, with which size and SHA-256.

The same document stands in three places: in the lock ("weights" of ``pins.lock.json``), in the
models folder (``manifest.json``, complete) and in the package as the default. A file that is
made here (converted to FP8) has a ``derived`` part that names what it is made from; its own size
and hash are null until it was made from the real weights once. Nothing is served from a manifest
with nulls: ``require_complete`` refuses it.

    {"schema": 1, "files": [
      {"name": "wan21_vace_vae.safetensors", "folder": "vae", "size": 253815318,
       "sha256": "2fc3…", "licence": "Apache-2.0",
       "sources": [{"kind": "huggingface", "repo": "…", "revision": "…", "path": "…"}],
       "derived": null}]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast, get_args

from vace_weights.errors import ManifestError
from vace_weights.files import write_durably

SCHEMA = 1
MANIFEST_NAME = "manifest.json"
SourceKind = Literal["modelscope", "huggingface", "hf-mirror", "oss", "http", "folder"]
KINDS: tuple[SourceKind, ...] = get_args(SourceKind)
HUB_KINDS: tuple[SourceKind, ...] = ("modelscope", "huggingface", "hf-mirror")
FOLDERS = ("diffusion_models", "text_encoders", "vae")
"""The folders of a ComfyUI models directory that these weights go to."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADVICE = "Write it as docs of `python -m vace_weights fetch --help` say, or take it from the lock."


@dataclass(frozen=True)
class Source:
    """One place a file can be had from.

    `modelscope`, `huggingface`, `hf-mirror`: repo, revision and path. `oss`: path is the object
    key; the bucket's base URL comes from `url` or from the environment. `http`: url of the file,
    or of a folder when it ends in "/". `folder`: path of a local folder or of the file.
    """

    kind: SourceKind
    repo: str = ""
    revision: str = ""
    path: str = ""
    url: str = ""

    def as_dict(self) -> dict[str, str]:
        """The JSON form: the kind, and the parts that are set."""
        parts = {"repo": self.repo, "revision": self.revision, "path": self.path, "url": self.url}
        return {"kind": self.kind, **{key: value for key, value in parts.items() if value}}


@dataclass(frozen=True)
class SourceFile:
    """A file as its publisher names it: what is fetched."""

    name: str
    size: int
    sha256: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Derivation:
    """How a file is made here: the converter's id and the file that it reads."""

    converter: str
    source: SourceFile


@dataclass(frozen=True)
class WeightFile:
    """A file in the models folder. `size` and `sha256` are None until it was made once."""

    name: str
    folder: str
    size: int | None
    sha256: str | None
    licence: str
    sources: tuple[Source, ...] = ()
    derived: Derivation | None = None

    @property
    def relative(self) -> PurePosixPath:
        """Its path below the models folder."""
        return PurePosixPath(self.folder) / self.name

    @property
    def to_fetch(self) -> SourceFile:
        """What has to be downloaded for it: itself, or what it is made from."""
        if self.derived is not None:
            return self.derived.source
        if self.size is None or self.sha256 is None:
            raise ManifestError(
                self.name, ["size and sha256 are null, and it is not derived"], _ADVICE
            )
        return SourceFile(self.name, self.size, self.sha256, self.sources)

    def with_result(self, size: int, sha256: str) -> WeightFile:
        """The same entry, with the size and hash that the file really has."""
        return replace(self, size=size, sha256=sha256)


@dataclass(frozen=True)
class Manifest:
    """All weight files of one deployment."""

    files: tuple[WeightFile, ...]

    @property
    def complete(self) -> bool:
        """Whether every file's size and hash are known."""
        return all(file.size is not None and file.sha256 is not None for file in self.files)

    def require_complete(self, source: str) -> None:
        """Raise ManifestError, naming each file whose size or hash is not known."""
        problems = [
            f"{file.relative}: size or sha256 is null"
            for file in self.files
            if file.size is None or file.sha256 is None
        ]
        if problems:
            raise ManifestError(
                source,
                problems,
                "A served manifest must name the size and hash of every file. Run "
                "`python -m vace_weights prepare --to DIR`: it makes the files and writes a "
                "complete manifest.json.",
            )

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, as `parse` reads it."""
        return {"schema": SCHEMA, "files": [_file_as_dict(file) for file in self.files]}


def load(path: Path) -> Manifest:
    """Read a manifest file. Raises ManifestError with every problem in it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(
            str(path), [f"it cannot be read: {error.strerror}"], "Name one that exists: --manifest."
        ) from error
    except ValueError as error:
        raise ManifestError(str(path), [f"it is not JSON: {error}"], _ADVICE) from error
    return parse(document, str(path))


def parse(document: object, source: str) -> Manifest:
    """A manifest from decoded JSON; `source` names it in errors.

    A whole lock is taken too: its "weights" part is read.
    """
    problems: list[str] = []
    if isinstance(document, dict) and "weights" in document and "files" not in document:
        document = document["weights"]
    if not isinstance(document, dict):
        raise ManifestError(source, ["the document is not an object"], _ADVICE)
    if document.get("schema") != SCHEMA:
        problems.append(f"schema is {document.get('schema')!r}; this program reads {SCHEMA}")
    rows = document.get("files")
    if not isinstance(rows, list) or not rows:
        raise ManifestError(source, [*problems, "files is not a list with an entry"], _ADVICE)
    files = [_file(row, f"files[{index}]", problems) for index, row in enumerate(rows)]
    places = [str(file.relative) for file in files]
    problems += [
        f"{place} is named twice" for place in sorted(set(places)) if places.count(place) > 1
    ]
    if problems:
        raise ManifestError(source, problems, _ADVICE)
    return Manifest(tuple(files))


def dump(manifest: Manifest, path: Path) -> None:
    """Write a manifest; the file is replaced in one step and synced."""

    text = json.dumps(manifest.as_dict(), indent=2, ensure_ascii=False) + "\n"
    write_durably(path, text.encode())


def _file_as_dict(file: WeightFile) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": file.name,
        "folder": file.folder,
        "size": file.size,
        "sha256": file.sha256,
        "licence": file.licence,
    }
    if file.sources:
        row["sources"] = [source.as_dict() for source in file.sources]
    row["derived"] = None
    if file.derived is not None:
        made_from = file.derived.source
        row["derived"] = {
            "converter": file.derived.converter,
            "source": {
                "name": made_from.name,
                "size": made_from.size,
                "sha256": made_from.sha256,
                "sources": [source.as_dict() for source in made_from.sources],
            },
        }
    return row


def _file(row: object, where: str, problems: list[str]) -> WeightFile:
    if not isinstance(row, dict):
        problems.append(f"{where} is not an object")
        row = {}
    raw_derived = row.get("derived")
    derived = None
    if raw_derived is not None:
        derived = _derivation(raw_derived, f"{where}.derived", problems)
    nullable = derived is not None
    folder = _text(row, "folder", where, problems)
    if folder not in FOLDERS:
        problems.append(f"{where}.folder is {folder!r}; allowed: {', '.join(FOLDERS)}")
    return WeightFile(
        name=_name(row, where, problems),
        folder=folder,
        size=_size(row, where, problems, nullable=nullable),
        sha256=_sha256(row, where, problems, nullable=nullable),
        licence=_text(row, "licence", where, problems),
        sources=_sources(row.get("sources", []), f"{where}.sources", problems),
        derived=derived,
    )


def _derivation(row: object, where: str, problems: list[str]) -> Derivation:
    if not isinstance(row, dict):
        problems.append(f"{where} is neither null nor an object")
        row = {}
    inner = row.get("source")
    if not isinstance(inner, dict):
        problems.append(f"{where}.source is not an object")
        inner = {}
    place = f"{where}.source"
    return Derivation(
        converter=_text(row, "converter", where, problems),
        source=SourceFile(
            name=_name(inner, place, problems),
            size=_size(inner, place, problems, nullable=False) or 0,
            sha256=_sha256(inner, place, problems, nullable=False) or "",
            sources=_sources(inner.get("sources", []), f"{place}.sources", problems),
        ),
    )


def _sources(rows: object, where: str, problems: list[str]) -> tuple[Source, ...]:
    if not isinstance(rows, list):
        problems.append(f"{where} is not a list")
        return ()
    found = []
    for index, row in enumerate(rows):
        source = parse_source(row, f"{where}[{index}]", problems)
        if source is not None:
            found.append(source)
    return tuple(found)


def parse_source(row: object, where: str, problems: list[str]) -> Source | None:
    """A source from decoded JSON; what is wrong with it is added to `problems`."""
    if not isinstance(row, dict):
        problems.append(f"{where} is not an object")
        return None
    kind = row.get("kind")
    if kind not in KINDS:
        problems.append(f"{where}.kind is {kind!r}; allowed: {', '.join(KINDS)}")
        return None
    strange = sorted(set(row) - {"kind", "repo", "revision", "path", "url"})
    if strange:
        problems.append(f"{where} has unknown keys: {', '.join(strange)}")
    wanted: Sequence[str] = ("repo", "revision", "path") if kind in HUB_KINDS else ("path",)
    if kind == "http":
        wanted = ("url",)
    for key in ("repo", "revision", "path", "url"):
        value = row.get(key, "")
        if not isinstance(value, str) or (key in wanted and not value):
            problems.append(f"{where}.{key} is {value!r}; a source of kind {kind} needs it as text")
            return None
    return Source(
        kind=cast(SourceKind, kind),
        repo=row.get("repo", ""),
        revision=row.get("revision", ""),
        path=row.get("path", ""),
        url=row.get("url", ""),
    )


def _text(row: Mapping[str, object], key: str, where: str, problems: list[str]) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        problems.append(f"{where}.{key} is {value!r}; it must be text")
        return ""
    return value


def _name(row: Mapping[str, object], where: str, problems: list[str]) -> str:
    name = _text(row, "name", where, problems)
    if name and not _FILE_NAME.fullmatch(name):
        problems.append(f"{where}.name is {name!r}; it must be a plain file name")
    return name


def _size(
    row: Mapping[str, object], where: str, problems: list[str], *, nullable: bool
) -> int | None:
    value = row.get("size")
    if value is None and nullable:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        problems.append(f"{where}.size is {value!r}; it must be a number of bytes above 0")
        return None
    return value


def _sha256(
    row: Mapping[str, object], where: str, problems: list[str], *, nullable: bool
) -> str | None:
    value = row.get("sha256")
    if value is None and nullable:
        return None
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        problems.append(f"{where}.sha256 is {value!r}; it must be 64 hex digits in lower case")
        return None
    return value
