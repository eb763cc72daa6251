"""Makes a models folder complete: fetches, converts, places, writes receipts and manifest.json.

Done again, it does only what is missing: a derived file whose receipt names the same source and
converter, and which still has the hash in that receipt, is not made again, and its source is not
fetched again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vace_weights.errors import FolderError, ManifestError, VerificationError
from vace_weights.fetch import Fetched, Target, check_room, fetch_locked, is_verified
from vace_weights.files import readable_bytes, sync_folder
from vace_weights.lock import locked
from vace_weights.manifest import (
    MANIFEST_NAME,
    Derivation,
    Manifest,
    SourceFile,
    WeightFile,
    dump,
)
from vace_weights.progress import Progress
from vace_weights.receipts import Receipt, read_receipt, write_receipt
from vace_weights.sources import GivenSource, places
from vace_weights.stamps import Stamps
from vace_weights.transfer import TransferOptions

SOURCES_FOLDER = "sources"
"""Below the models folder: published files that others are made from; ComfyUI never looks there."""
Form = Literal["scaled", "plain"]


class Converted(Protocol):
    """What a converter gives back."""

    @property
    def size(self) -> int:
        """Bytes written."""

    @property
    def sha256(self) -> str:
        """Hash of what was written, in hex."""


class Converter(Protocol):
    """Makes an FP8 file; `vace_weights.convert.convert` in service."""

    def __call__(
        self,
        source: Path,
        target: Path,
        *,
        form: Form = "scaled",
        progress: Callable[[int, int], None] | None = None,
    ) -> Converted:
        """Convert; `target` exists, whole, when it returns."""


@dataclass(frozen=True)
class Conversion:
    """The converter, and the name that each of its forms has in manifests."""

    convert: Converter
    names: Mapping[Form, str]

    def form_of(self, file: WeightFile) -> Form:
        """The form that the manifest asks for. Raises ManifestError for one it does not have."""
        wanted = file.derived.converter if file.derived is not None else ""
        for form, name in self.names.items():
            if name == wanted:
                return form
        raise ManifestError(
            file.name,
            [f"its converter is {wanted!r}; this program has {', '.join(self.names.values())}"],
            "Another version makes other bytes: use the manifest that belongs to this version, or "
            "the version that belongs to this manifest.",
        )


@dataclass(frozen=True)
class Wishes:
    """What the user asked for.

    `sources_folder` may hold files of the user's own: nothing in it is ever removed. From the
    default one, below the models folder, what this run fetched is removed after its conversion,
    unless `keep_sources`.
    """

    given: Sequence[GivenSource] = ()
    only_given: bool = False
    sources_folder: Path | None = None
    keep_sources: bool = False
    options: TransferOptions | None = None


def targets_of(manifest: Manifest, folder: Path, wishes: Wishes) -> list[Target]:
    """What has to be fetched for each entry: the file itself, or what it is made from."""
    return [_target(file, folder, wishes) for file in manifest.files]


def prepare(
    manifest: Manifest, folder: Path, *, wishes: Wishes, conversion: Conversion, progress: Progress
) -> Manifest:
    """Have every file of the manifest under its final name; returns the complete manifest.

    Raises ManifestError, a FetchError or what the converter raises; nothing unfinished stands
    under a final name.
    """
    for file in manifest.files:
        if file.derived is not None:
            conversion.form_of(file)  # before gigabytes are fetched for nothing
    with locked(folder, progress.message):
        stamps = Stamps(folder)
        finished = {
            file.name: made
            for file in manifest.files
            if file.derived is not None
            and (made := _made_before(file, folder, stamps, progress)) is not None
        }
        open_files = [file for file in manifest.files if file.name not in finished]
        targets = [_target(file, folder, wishes) for file in open_files]
        _check_conversion_room(open_files, targets, folder)
        fetched = fetch_locked(
            targets, folder, options=wishes.options, progress=progress, stamps=stamps
        )
        for file, target in zip(open_files, targets, strict=True):
            if file.derived is not None:
                finished[file.name] = _make(
                    file,
                    file.derived,
                    source=target.path,
                    final=folder / file.relative,
                    conversion=conversion,
                    progress=progress,
                )
                final = folder / file.relative
                stamps.remember(final, finished[file.name].sha256 or "", final.stat())
        complete = Manifest(tuple(finished.get(file.name, file) for file in manifest.files))
        complete.require_complete(str(folder))
        dump(complete, folder / MANIFEST_NAME)
        if not wishes.keep_sources and wishes.sources_folder is None:
            derived = [
                came
                for file, came in zip(open_files, fetched, strict=True)
                if file.derived is not None
            ]
            _remove_sources(derived, stamps, progress)
        return complete


def _target(file: WeightFile, folder: Path, wishes: Wishes) -> Target:
    wanted = file.to_fetch
    path = folder / file.relative
    if file.derived is not None:
        path = (wishes.sources_folder or folder / SOURCES_FOLDER) / wanted.name
    found = places(
        wanted,
        wishes.given,
        final=str(file.relative) if file.derived is None else "",
        only_given=wishes.only_given,
    )
    return Target(wanted, path, tuple(found))


def _made_before(
    file: WeightFile, folder: Path, stamps: Stamps, progress: Progress
) -> WeightFile | None:
    """The entry with size and hash, when the derived file is there and right."""
    path = folder / file.relative
    size, sha256 = file.size, file.sha256
    if size is None or sha256 is None:
        receipt = read_receipt(path)
        if receipt is None or file.derived is None or not receipt.fits(file.derived):
            return None
        size, sha256 = receipt.size, receipt.sha256
    if is_verified(path, SourceFile(file.name, size, sha256, ()), stamps, progress):
        return file.with_result(size, sha256)
    return None


def _make(
    file: WeightFile,
    derivation: Derivation,
    *,
    source: Path,
    final: Path,
    conversion: Conversion,
    progress: Progress,
) -> WeightFile:
    progress.begin(derivation.source.size, 0)
    progress.file(f"converting {source.name} to {file.name}", derivation.source.size)
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = derivation.source.size * done // max(1, total)
        progress.advance(now - told)
        told = now

    temporary = final.with_name(f".{final.name}.converted")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        made = conversion.convert(source, temporary, form=conversion.form_of(file), progress=tell)
        if file.sha256 is not None and made.sha256 != file.sha256:
            temporary.unlink()
            raise VerificationError(
                f"{file.name}: expected SHA-256 {file.sha256} from {derivation.converter}, got "
                f"{made.sha256} from the verified {source.name}. The manifest belongs to another "
                "version of the converter: take the manifest of this version, or set size and "
                "sha256 to null and run prepare again."
            )
        temporary.replace(final)
        sync_folder(final.parent)
        write_receipt(
            final,
            Receipt(
                derivation.converter, source.name, derivation.source.sha256, made.size, made.sha256
            ),
        )
    except OSError as error:
        raise FolderError(
            f"{final} cannot be written: {error.strerror}. Correct that and run the same command "
            "again: what was fetched is kept."
        ) from error
    progress.message(f"{final.name}: {readable_bytes(made.size)}, SHA-256 {made.sha256}")
    return file.with_result(made.size, made.sha256)


def _check_conversion_room(
    files: Sequence[WeightFile], targets: Sequence[Target], folder: Path
) -> None:
    """The results take room too: at most what their sources take, and before they are removed."""
    results = [
        Target(target.file, folder / file.relative, ())
        for file, target in zip(files, targets, strict=True)
        if file.derived is not None
    ]
    missing = [target for target in targets if not target.path.exists()]
    for target in [*missing, *results]:
        target.path.parent.mkdir(parents=True, exist_ok=True)
    check_room([*missing, *results])


def _remove_sources(derived: Sequence[Fetched], stamps: Stamps, progress: Progress) -> None:
    """Remove what this run fetched; what was there before it may be somebody's only copy."""
    for came in derived:
        if not came.source:
            if came.path.exists():
                progress.message(
                    f"{came.path} was there before this run and stays; it is not needed any more"
                )
            continue
        came.path.unlink(missing_ok=True)
        stamps.forget(came.path)
        if not any(came.path.parent.iterdir()):
            came.path.parent.rmdir()
