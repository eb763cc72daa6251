"""Components of an SBOM: one each for wheels, Debian packages, git sources and model files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from packageurl import PackageURL
from vace_weights.manifest import WeightFile

from images.builder.contents import ImageKind, folder_of, locked_wheels, manifest_of
from images.builder.installed import Installed, InstalledDebian, InstalledWheel
from images.builder.oci import Image
from images.lock import GitSource, Lock, Wheel

_OCI = "org.opencontainers.image"
_OWN = "com.wan-vace"
_LICENCES = LicenseFactory()


def image_component(image: Image, kind: ImageKind) -> Component:
    """The image itself; its labels become properties."""
    name = image.labels.get(f"{_OCI}.title") or kind.image
    purl = PackageURL("oci", name=name, version=image.digest, qualifiers={"arch": "amd64"})
    return Component(
        type=ComponentType.CONTAINER,
        name=name,
        version=image.labels.get(f"{_OCI}.version") or image.digest,
        bom_ref=str(purl),
        purl=purl,
        hashes=[_sha256(image.digest.removeprefix("sha256:"))],
        properties=[Property(name=key, value=value) for key, value in sorted(image.labels.items())],
    )


def all_components(kind: ImageKind, lock: Lock, installed: Installed) -> list[Component]:
    """Everything in an image that agrees with its lock (see ``images.builder.contents``)."""
    wheels = locked_wheels(kind, lock)
    debian = {(row.name, row.version): row.sha256 for row in lock.debian}
    return [
        *(_wheel(row, wheels[row.name]) for row in installed.wheels),
        *(_debian(row, lock.debian_suite, debian) for row in installed.debian),
        *_sources(kind, lock, installed),
        *_models(installed),
    ]


def _wheel(found: InstalledWheel, locked: Wheel) -> Component:
    purl = PackageURL("pypi", name=found.name, version=found.version)
    return Component(
        name=found.name,
        version=found.version,
        bom_ref=str(purl),
        purl=purl,
        hashes=[_sha256(locked.sha256)],
        licenses=_licences(locked.licence or found.licence),
        properties=[
            Property(name=f"{_OWN}.wheel", value=locked.filename),
            Property(name=f"{_OWN}.place", value=f"/{found.place}"),
        ],
    )


def _debian(found: InstalledDebian, suite: str, hashes: Mapping[tuple[str, str], str]) -> Component:
    purl = PackageURL(
        "deb", "debian", found.name, found.version, {"arch": found.architecture, "distro": suite}
    )
    sha256 = hashes.get((found.name, found.version))
    return Component(
        name=found.name,
        version=found.version,
        bom_ref=str(purl),
        purl=purl,
        # Packages of the base image are not in the lock one by one.
        hashes=[_sha256(sha256)] if sha256 else [],
    )


def _sources(kind: ImageKind, lock: Lock, installed: Installed) -> Iterator[Component]:
    for name, source in sorted(lock.git.items()):
        tree = installed.trees.get(folder_of(source))
        if tree is not None:
            yield _source(source, tree, overridden=name in kind.overrides)


def _source(source: GitSource, tree: str, *, overridden: bool) -> Component:
    """A git source; one that was overridden is known by its tree only."""
    owner, _, repository = urlsplit(source.url).path.strip("/").removesuffix(".git").partition("/")
    if overridden:
        purl = PackageURL("generic", name=source.name, version=f"tree-{tree}")
    elif urlsplit(source.url).hostname == "github.com" and repository:
        purl = PackageURL("github", owner.lower(), repository.lower(), source.commit)
    else:
        place = {"vcs_url": f"git+{source.url}@{source.commit}"}
        purl = PackageURL("generic", name=source.name, version=source.commit, qualifiers=place)
    return Component(
        type=ComponentType.APPLICATION if not source.path else ComponentType.LIBRARY,
        name=source.name,
        version=f"tree-{tree}" if overridden else source.version or source.commit,
        bom_ref=str(purl),
        purl=purl,
        licenses=[] if overridden else _licences(source.licence),
        properties=[
            Property(name=f"{_OWN}.git-tree", value=tree),
            Property(name=f"{_OWN}.overridden", value=str(overridden).lower()),
            *([] if overridden else [Property(name=f"{_OWN}.git-commit", value=source.commit)]),
        ],
    )


def _models(installed: Installed) -> Iterator[Component]:
    manifest = manifest_of(installed)
    if manifest is None:
        return
    for file in manifest.files:
        found = installed.models.get(str(file.relative))
        if found is not None:
            yield _model(file, found.sha256)


def _model(file: WeightFile, sha256: str) -> Component:
    purl = PackageURL(
        "generic", name=file.name, version=sha256[:16], qualifiers={"checksum": f"sha256:{sha256}"}
    )
    made_from = file.to_fetch
    properties = {f"{_OWN}.path": f"/opt/models/{file.relative}"}
    for number, source in enumerate(made_from.sources, start=1):
        place = f"{source.kind} {source.repo}@{source.revision} {source.path}".strip()
        properties[f"{_OWN}.source.{number}"] = source.url or place
    if file.derived is not None:
        properties[f"{_OWN}.converter"] = file.derived.converter
        properties[f"{_OWN}.converted-from"] = f"{made_from.name} sha256:{made_from.sha256}"
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=file.name,
        version=sha256[:16],
        bom_ref=str(purl),
        purl=purl,
        hashes=[_sha256(sha256)],
        licenses=_licences(file.licence),
        properties=[Property(name=key, value=value) for key, value in properties.items()],
    )


def _licences(text: str) -> Iterable[License]:
    return [_LICENCES.make_from_string(text)] if text else []


def _sha256(value: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=value)
