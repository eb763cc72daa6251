"""Command line of the weights package.

    python -m vace_weights fetch   --to DIR     download and verify, nothing else
    python -m vace_weights prepare --to DIR     fetch, make the FP8 file, write manifest.json
    python -m vace_weights verify  DIR          check a folder against its manifest.json
    python -m vace_weights convert SRC DST      make an FP8 file
    python -m vace_weights generate …           a small model of the same architecture, for tests

Exit status: 0 done, 1 something failed, 2 the command line or the manifest is wrong, 130
interrupted. Everything that was fetched is kept: the same command goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vace_weights import __version__
from vace_weights.errors import ManifestError, WeightsError
from vace_weights.fetch import fetch
from vace_weights.files import readable_bytes
from vace_weights.manifest import MANIFEST_NAME, Manifest, load
from vace_weights.prepare import Conversion, Wishes, prepare, targets_of
from vace_weights.progress import ConsoleProgress
from vace_weights.sources import ENDPOINTS, SOURCES_VARIABLE, given_in_environment, parse_given
from vace_weights.stamps import Stamps
from vace_weights.transfer import TransferOptions
from vace_weights.verify import verify

DEFAULT_MANIFEST = Path(__file__).with_name("default_manifest.json")
MANIFEST_VARIABLE = "VACE_WEIGHT_MANIFEST"
EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_INTERRUPTED = 130
_NUMPY_COMMANDS = {
    "convert": "make an FP8 file from a 16-bit one",
    "generate": "make a small model of the same architecture, for tests",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser(given).parse_args(given)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except ManifestError as error:
        sys.stderr.write(f"vace-weights: {error}\n")
        return EXIT_CONFIGURATION
    except WeightsError as error:
        sys.stderr.write(f"vace-weights: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        sys.stderr.write("vace-weights: interrupted; run the same command again to go on\n")
        return EXIT_INTERRUPTED


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    variables = "".join(
        f"\n  {name:<26}base URL of {kind}" + (f" [{default}]" if default else "")
        for kind, (name, default) in ENDPOINTS.items()
    )
    parser = argparse.ArgumentParser(
        prog="vace-weights",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fetches, verifies and converts the weights of Wan2.1-VACE-1.3B.",
        epilog="environment:"
        f"\n  {SOURCES_VARIABLE:<26}sources to try first, separated by spaces (may be signed URLs)"
        f"\n  {MANIFEST_VARIABLE:<26}the manifest, where --manifest is not given{variables}"
        "\n  HF_TOKEN                  sent to huggingface only, never on a redirect to another "
        "host\n  SSL_CERT_FILE, HTTPS_PROXY, NO_PROXY are honoured",
    )
    parser.add_argument("--version", action="version", version=f"vace-weights {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_fetch(commands)
    _add_prepare(commands)
    _add_verify(commands)
    for name, words in _NUMPY_COMMANDS.items():
        if given[:1] == [name]:
            # Imported only when asked for: fetching must work where numpy is not installed.
            importlib.import_module(f"vace_weights.{name}").add_parser(commands)
        else:
            commands.add_parser(name, help=words)
    return parser


def _add_fetch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("fetch", help="download and verify the published files")
    _add_fetch_options(parser)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only this file (repeatable)"
    )
    parser.set_defaults(run=_fetch)


def _add_prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "prepare", help="fetch, make the FP8 file, place everything, write manifest.json"
    )
    _add_fetch_options(parser)
    parser.add_argument(
        "--keep-sources",
        action="store_true",
        help="keep the 16-bit file after its conversion. Without it, only one that this very run "
        "fetched into the default folder is removed",
    )
    parser.set_defaults(run=_prepare)


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("verify", help="check a models folder against its manifest")
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--manifest", type=Path, metavar="F", help=f"instead of DIR/{MANIFEST_NAME}"
    )
    parser.add_argument(
        "--full", action="store_true", help="hash every file, also those verified before"
    )
    parser.add_argument(
        "--stamps", type=Path, metavar="F", help="where to remember, for a read-only DIR"
    )
    parser.set_defaults(run=_verify)


def _add_fetch_options(parser: argparse.ArgumentParser) -> None:
    defaults = TransferOptions()
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="the models folder")
    parser.add_argument(
        "--manifest", type=Path, metavar="F", help="which files (or the lock that has them)"
    )
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="KIND:PLACE",
        help="try this source first (repeatable): folder:PATH, http:URL/, oss:BUCKET/PREFIX, "
        "huggingface, hf-mirror, modelscope",
    )
    parser.add_argument(
        "--only-given", action="store_true", help="do not try the manifest's own sources"
    )
    parser.add_argument(
        "--sources-to",
        type=Path,
        metavar="DIR",
        help="where to look for and keep files that others are made of; may be shared, nothing in "
        "it is ever removed [DIR of --to, below it `sources`]",
    )
    parser.add_argument(
        "--connections", type=_positive, default=defaults.connections, help="for each file [4]"
    )
    parser.add_argument(
        "--stall-seconds",
        type=_positive,
        default=defaults.stall_s,
        help="a connection without a byte for so long, or with less than 1 KiB/s on average over "
        "it, is given up [30]",
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _wishes(options: argparse.Namespace) -> Wishes:
    return Wishes(
        given=[*parse_given(options.source), *given_in_environment()],
        only_given=options.only_given,
        sources_folder=options.sources_to,
        keep_sources=getattr(options, "keep_sources", True),
        options=TransferOptions(
            connections=options.connections, stall_s=float(options.stall_seconds)
        ),
    )


def _manifest(options: argparse.Namespace) -> Manifest:
    named = os.environ.get(MANIFEST_VARIABLE, "")
    return load(options.manifest or (Path(named) if named else DEFAULT_MANIFEST))


def _fetch(options: argparse.Namespace) -> int:
    manifest, wishes = _manifest(options), _wishes(options)
    if options.only:
        known = {file.name for file in manifest.files}
        strange = [name for name in options.only if name not in known]
        if strange:
            raise ManifestError(
                "has no such file, which --only names, and",
                [f"{name} is not in it" for name in strange],
                f"It has {', '.join(sorted(known))}.",
            )
        manifest = Manifest(tuple(f for f in manifest.files if f.name in options.only))
    targets = targets_of(manifest, options.to, wishes)
    with ConsoleProgress() as progress:
        fetched = fetch(targets, options.to, options=wishes.options, progress=progress)
    for file in fetched:
        origin = f"from {file.source}" if file.source else "was there already"
        sys.stdout.write(f"{file.path}  {readable_bytes(file.size)}  verified, {origin}\n")
    return 0


def _prepare(options: argparse.Namespace) -> int:
    manifest, wishes = _manifest(options), _wishes(options)
    converter = importlib.import_module("vace_weights.convert")
    conversion = Conversion(converter.convert, converter.CONVERTERS)
    with ConsoleProgress() as progress:
        complete = prepare(
            manifest, options.to, wishes=wishes, conversion=conversion, progress=progress
        )
    for file in complete.files:
        sys.stdout.write(f"{options.to / file.relative}  {file.sha256}\n")
    sys.stdout.write(f"{options.to / MANIFEST_NAME}  written\n")
    return 0


def _verify(options: argparse.Namespace) -> int:
    manifest = load(options.manifest or options.folder / MANIFEST_NAME)
    stamps = Stamps(options.folder, options.stamps)
    with ConsoleProgress() as progress:
        found = verify(
            manifest, options.folder, full=options.full, stamps=stamps, progress=progress
        )
    for finding in found:
        how = "hashed now" if finding.hashed else "verified before, unchanged since"
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(f"{finding.path}  ok ({how})\n")
    return 0
