"""Where a file can be had from: from a source in the manifest or on the command line to a place.

Forms of a source on the command line and in VACE_WEIGHT_SOURCES (separated by white space):

    folder:/media/weights        a local folder; the file lies in it under its final name, its
                                 publisher's name or in its folder (vae/…)
    http:https://host/weights/   a folder on a web server; with a file name at the end it is that
                                 one file. Signed URLs work, their query is never printed
    oss:BUCKET/prefix            a bucket; VACE_OSS_ENDPOINT names the region's endpoint. Objects
                                 must be readable without a signature from where this runs; where
                                 they are not, give signed URLs as http: sources
    huggingface | hf-mirror | modelscope
                                 the same repository as in the manifest, from this hub first
    modelscope:REPO@REVISION     another repository of that hub

URL forms. Hugging Face documents `<endpoint>/<repo>/resolve/<revision>/<path>`, answered by a
redirect to a content network; hf-mirror.com documents itself as the same paths on another host.
ModelScope's own client (modelscope 1.40, hub/file_download.py) asks
`<endpoint>/api/v1/models/<repo>/repo?Revision=…&FilePath=…`; the shorter
`<endpoint>/models/<repo>/resolve/<revision>/<path>` used here is the form of its web pages and
occurs in that client for static files. That it serves ranges of large files is inferred, not
documented: if it does not, the whole file comes in one stream. ModelScope's revisions are its
own (`master` or a tag); a Hugging Face commit means nothing there. The SHA-256 decides in the end.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vace_weights.connection import redacted
from vace_weights.errors import ManifestError
from vace_weights.manifest import HUB_KINDS, KINDS, Source, SourceFile, SourceKind

ENDPOINTS: Mapping[str, tuple[str, str]] = {
    "huggingface": ("HF_ENDPOINT", "https://huggingface.co"),
    "hf-mirror": ("VACE_HF_MIRROR_ENDPOINT", "https://hf-mirror.com"),
    "modelscope": ("VACE_MODELSCOPE_ENDPOINT", "https://www.modelscope.cn"),
    "oss": ("VACE_OSS_ENDPOINT", ""),
}
"""Kind to environment variable and default base URL."""
SOURCES_VARIABLE = "VACE_WEIGHT_SOURCES"
TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - a variable's name
_FORMS = (
    "folder:PATH, http:URL, oss:BUCKET/PREFIX, huggingface, hf-mirror, modelscope, or one of the "
    "last three with :REPO@REVISION"
)


@dataclass(frozen=True)
class Place:
    """One place to read one file from: a URL, or a local path. `label` is for messages."""

    label: str
    url: str = ""
    path: Path | None = None
    token: str = ""

    def __repr__(self) -> str:
        return f"Place({self.label})"


@dataclass(frozen=True)
class GivenSource:
    """A source that the user put before the manifest's."""

    kind: SourceKind
    place: str = ""


def parse_given(texts: Iterable[str]) -> list[GivenSource]:
    """Sources from the command line. Raises ManifestError with every one that is not understood."""
    found, problems = [], []
    for text in texts:
        kind, colon, place = text.partition(":")
        if kind in {"http", "https"} and place.startswith("//"):
            kind, colon, place = "http", ":", text
        if kind not in KINDS or (kind not in HUB_KINDS and not place) or (colon and not place):
            problems.append(f"{_printable(text)!r} is not a source")
            continue
        if kind in HUB_KINDS and place and "@" not in place:
            problems.append(f"{text!r} names no revision: write {text}@REVISION")
            continue
        found.append(GivenSource(kind, place))
    if problems:
        raise ManifestError(
            f"or its list of sources (--source, {SOURCES_VARIABLE})",
            problems,
            f"A source is {_FORMS}.",
        )
    return found


def given_in_environment(environment: Mapping[str, str] = os.environ) -> list[GivenSource]:
    """The sources in VACE_WEIGHT_SOURCES."""
    return parse_given(environment.get(SOURCES_VARIABLE, "").split())


def places(
    file: SourceFile,
    given: Sequence[GivenSource] = (),
    *,
    final: str = "",
    only_given: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> list[Place]:
    """Every place to try for a file, in order and without repetition.

    `final` is the file's path below the models folder (`vae/wan21_vace_vae.safetensors`), under
    which a local folder or bucket may hold it too. Raises ManifestError when there is none.
    """
    found: list[Place] = []
    for source in given:
        found += _given_places(source, file, final, environment)
    if not only_given:
        for listed in file.sources:
            found += _listed_places(listed, environment)
    unique = list(dict.fromkeys(found))
    if not unique:
        raise ManifestError(
            file.name,
            ["no source for it is usable"],
            f"Give one: --source or {SOURCES_VARIABLE}, as {_FORMS}. An oss source needs "
            "VACE_OSS_ENDPOINT (https://oss-REGION-internal.aliyuncs.com inside a VPC).",
        )
    return unique


def endpoint(kind: str, environment: Mapping[str, str] = os.environ) -> str:
    """The base URL of a hub, without a slash at its end; "" when none is set."""
    variable, default = ENDPOINTS[kind]
    return (environment.get(variable, "").strip() or default).rstrip("/")


def hub_url(source: Source, environment: Mapping[str, str] = os.environ) -> str:
    """The URL of a file in a model hub."""
    prefix = "/models" if source.kind == "modelscope" else ""
    path = f"{prefix}/{source.repo}/resolve/{source.revision}/{source.path}"
    return endpoint(source.kind, environment) + urllib.parse.quote(path)


def _listed_places(source: Source, environment: Mapping[str, str]) -> list[Place]:
    if source.kind in HUB_KINDS:
        token = environment.get(TOKEN_VARIABLE, "") if source.kind == "huggingface" else ""
        url = hub_url(source, environment)
        return [Place(_label(source.kind, url), url=url, token=token.strip())]
    if source.kind == "http":
        return [Place(_label("http", source.url), url=source.url)]
    if source.kind == "oss":
        base = source.url or environment.get("VACE_OSS_BASE", "")
        if not base:
            return []
        url = f"{base.rstrip('/')}/{urllib.parse.quote(source.path.lstrip('/'))}"
        return [Place(_label("oss", url), url=url)]
    path = Path(source.path).expanduser()
    return [Place(f"folder {path}", path=path)]


def _given_places(
    given: GivenSource, file: SourceFile, final: str, environment: Mapping[str, str]
) -> list[Place]:
    names = list(dict.fromkeys([*_published_names(file), file.name, final or file.name]))
    if given.kind in HUB_KINDS:
        return _hub_places(given, file, environment)
    if given.kind == "folder":
        base = Path(given.place).expanduser()
        found = [base / name for name in names if (base / name).is_file()]
        return [Place(f"folder {path}", path=path) for path in found[:1] or [base / names[0]]]
    address = given.place
    if given.kind == "oss":
        if "://" not in address:
            bucket, _, prefix = address.partition("/")
            scheme, _, host = endpoint("oss", environment).partition("://")
            if not host:
                return []
            address = f"{scheme}://{bucket}.{host}/{prefix}"
        address = address.rstrip("/") + "/"
    parts = urllib.parse.urlsplit(address)
    if not parts.path.endswith("/") and parts.path:
        # The URL of one file: it belongs to the file of that name and to no other.
        own = urllib.parse.unquote(parts.path.rpartition("/")[2])
        matching = {Path(name).name for name in names}
        return [Place(_label(given.kind, address), url=address)] if own in matching else []
    found_urls = [
        urllib.parse.urlunsplit(parts._replace(path=(parts.path or "/") + urllib.parse.quote(name)))
        for name in names
    ]
    return [Place(_label(given.kind, url), url=url) for url in found_urls]


def _hub_places(
    given: GivenSource, file: SourceFile, environment: Mapping[str, str]
) -> list[Place]:
    listed = [source for source in file.sources if source.kind == given.kind]
    if not given.place and not listed and given.kind != "modelscope":
        # hf-mirror serves the repositories and revisions of Hugging Face, and the other way round.
        listed = [
            replace(source, kind=given.kind)
            for source in file.sources
            if source.kind in {"huggingface", "hf-mirror"}
        ]
    if given.place:
        repo, _, revision = given.place.rpartition("@")
        paths = list(dict.fromkeys(s.path for s in file.sources if s.kind in HUB_KINDS))
        listed = [
            Source(given.kind, repo=repo, revision=revision, path=path)
            for path in paths or [file.name]
        ]
    return [place for source in listed for place in _listed_places(source, environment)]


def _published_names(file: SourceFile) -> list[str]:
    return [source.path.rpartition("/")[2] for source in file.sources if source.kind in HUB_KINDS]


def _label(kind: str, url: str) -> str:
    return f"{kind} ({redacted(url)})"


def _printable(text: str) -> str:
    return redacted(text) if "://" in text else text
