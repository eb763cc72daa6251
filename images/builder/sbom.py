"""The list of an image's contents (SBOM) in CycloneDX 1.6.

It is made from what is really installed, and only when that is what the lock says: a list that
describes another image would be worse than none. The same image and lock give the same bytes.

    SbomError (an ArtifactError)
    ├── SbomMismatchError   image and lock differ; every difference is in the message
    └── SbomInvalidError    the document does not follow the CycloneDX schema
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from cyclonedx.exception import MissingOptionalDependencyException
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from images.builder.contents import differences, kind_of
from images.builder.errors import ArtifactError, InputError
from images.builder.installed import Installed, read_installed
from images.builder.oci import Image, load_image, open_source
from images.builder.references import parse_reference
from images.builder.referrers import attach
from images.builder.registry import Registry
from images.builder.registry_auth import find_credentials
from images.builder.registry_source import RegistrySource
from images.builder.sbom_components import all_components, image_component
from images.lock import LOCK, Lock, load

MEDIA_TYPE = "application/vnd.cyclonedx+json"
_NAMESPACE = uuid.UUID("6f2d6f0c-8f3a-5a53-9a0d-3f1c1d8a7a10")
"""For serial numbers; any fixed value will do, it only has to stay."""


class SbomError(ArtifactError):
    """There is no list of contents."""


class SbomMismatchError(SbomError):
    """The image is not what the lock says.

    Attributes:
        found: one sentence a difference.
    """

    def __init__(self, image: str, found: Sequence[str]) -> None:
        rows = "\n".join(f"  {row}" for row in found)
        super().__init__(
            f"{image} differs from the lock in {len(found)} places:\n{rows}\nA list of contents is "
            "written only for an image that is what its lock says. Give the lock that it was built "
            "from (--lock), or build it again."
        )
        self.found = list(found)


class SbomInvalidError(SbomError):
    """The document is not valid."""


def make_sbom(image: Image, lock: Lock, installed: Installed | None = None) -> str:
    """The list of contents of an image as JSON text.

    Args:
        image: its layers are read once, unless ``installed`` is given.
        lock: what the image was built from.
        installed: what ``read_installed`` found.

    Raises:
        SbomMismatchError: image and lock differ.
        SbomInvalidError: the result is not valid CycloneDX.
        LayerError: a layer is damaged.
    """
    found = installed if installed is not None else read_installed(image)
    kind = kind_of(image.labels)
    different = differences(kind, lock, found)
    if different:
        raise SbomMismatchError(f"{image.source.name} ({image.digest})", different)
    root = image_component(image, kind)
    components = all_components(kind, lock, found)
    day = datetime.date.fromisoformat(lock.resolved_at[:10])
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, image.digest),
        metadata=BomMetaData(
            component=root,
            timestamp=datetime.datetime.combine(day, datetime.time(), datetime.UTC),
        ),
        components=components,
    )
    bom.register_dependency(root, components)
    text = JsonV1Dot6(bom).output_as_string(indent=2) + "\n"
    validate_sbom(text)
    return text


def validate_sbom(text: str) -> None:
    """Check a document against the schema. Raises SbomInvalidError."""
    try:
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except MissingOptionalDependencyException as error:
        raise SbomError(
            "the CycloneDX schema cannot be checked: the packages of the extra "
            "`cyclonedx-python-lib[json-validation]` are not installed. A list that was not "
            "checked is not written. Run `make setup`."
        ) from error
    if problem is not None:
        raise SbomInvalidError(
            f"the list of contents is not valid CycloneDX 1.6: {problem}. A scanner would refuse "
            "it. A name, version or licence in the lock has a form that CycloneDX does not know; "
            "correct it in images/pins.toml and resolve again."
        )


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``sbom IMAGE [--attach …] [--output …]``."""
    parser = subparsers.add_parser(
        "sbom",
        help="list what is in an image (CycloneDX), and attach the list in a registry",
        description="Reads an image without running it, compares it with the lock, and prints its "
        "contents as CycloneDX 1.6 JSON. Differences are errors.",
    )
    parser.add_argument(
        "image", help="REGISTRY/REPOSITORY:TAG or @DIGEST, oci:DIR, or oci-archive:FILE"
    )
    parser.add_argument(
        "--name", default="", help="which image of a layout or archive with several"
    )
    parser.add_argument("--output", type=Path, metavar="F", help="write to this file, not stdout")
    parser.add_argument(
        "--attach", metavar="REGISTRY/REPOSITORY@DIGEST", help="attach the list to that image"
    )
    parser.add_argument("--lock", type=Path, default=LOCK, metavar="F", help="default: the own one")
    parser.add_argument("--auth-file", type=Path, metavar="F", help="registry credentials (JSON)")
    parser.add_argument(
        "--ca", type=Path, metavar="F", help="PEM file with the registry's authority"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Carry out the ``sbom`` command; returns its exit status.

    Raises:
        ArtifactError, LockError: as their messages say.
    """
    lock = load(options.lock)
    target = None if options.attach is None else parse_reference(options.attach, need="digest")
    with _opened(options) as image:
        if target is not None and target.digest != image.digest:
            raise InputError(
                f"--attach names {target.digest}, but the image is {image.digest}; a list may only "
                "be attached to the image that it describes. Give the same digest."
            )
        text = make_sbom(image, lock)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    elif target is None:
        sys.stdout.write(text)
    if target is not None:
        with _registry(target.host, options) as registry:
            subject = registry.head_manifest(target.repository, target.digest)
            artifact = attach(
                registry, target.repository, subject, text.encode(), artifact_type=MEDIA_TYPE
            )
        sys.stdout.write(f"{target.name}@{artifact.digest}\n")
    return 0


@contextlib.contextmanager
def _opened(options: argparse.Namespace) -> Iterator[Image]:
    if options.image.startswith(("oci:", "oci-archive:")):
        yield load_image(open_source(options.image), options.name)
        return
    reference = parse_reference(options.image)
    with _registry(reference.host, options) as registry:
        yield load_image(RegistrySource(registry, reference))


def _registry(host: str, options: argparse.Namespace) -> Registry:
    credentials = find_credentials(host, options.auth_file)
    return Registry(host, credentials=credentials, authority=options.ca)
