"""Write, check and list the workflows: ``python -m smoke_tests.workflows``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from smoke_tests.workflows import classes, cost
from smoke_tests.workflows.catalogue import RECIPES
from smoke_tests.workflows.graph import node_classes
from smoke_tests.workflows.recipe import FOLDER
from smoke_tests.workflows.render import COMMAND, stale, write


def _render() -> int:
    changed = write()
    print("\n".join(f"wrote {path.name}" for path in changed) or "all files were fresh")
    return 0


def _check() -> int:
    old = stale()
    if not old:
        return 0
    names = ", ".join(path.name for path in old)
    print(
        f"error: stale in {FOLDER.name}/: {names}. They must be what the definitions give, since "
        f"users open the files and tests read the definitions. Run '{COMMAND}'.",
        file=sys.stderr,
    )
    return 1


def _list() -> int:
    for recipe in RECIPES.values():
        kind = cost.cost_class(recipe.cost)
        print(
            f"{recipe.name:17} {'+'.join(recipe.inputs) or '-':12} "
            f"{recipe.width}x{recipe.height}, {recipe.frames:2} frames, {recipe.cost:4.1f} x "
            f"reference ({kind}), about {recipe.vram_gib:.1f} GiB: {recipe.summary['en']}"
        )
    return 0


def _classes(source: Path, names: list[str]) -> int:
    wanted = {*node_classes(), *names}
    try:
        classes.write(classes.extract(classes.read_object_info(source), wanted))
    except KeyError as error:
        fault = f"it has no class {error.args[0]!r}"
    except (OSError, ValueError) as error:
        fault = str(error)
    else:
        return 0
    print(
        f"error: {source} cannot be taken as an answer of GET /object_info ({fault}). A JSON file, "
        "gzipped or not, of a server with all node packs is needed, since the graphs use their "
        "classes. Fetch it with 'curl URL/object_info -o FILE'.",
        file=sys.stderr,
    )
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m smoke_tests.workflows", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("render", help="write the API and UI files and README.md")
    commands.add_parser("check", help="fail if a file is stale, and say the command that fixes it")
    commands.add_parser("list", help="one line a workflow: inputs, shape, cost, memory")
    extract = commands.add_parser(
        "classes", help="take the declarations of node classes from a server's /object_info"
    )
    extract.add_argument("object_info", type=Path, help="a JSON file, gzipped or not")
    extract.add_argument("names", nargs="*", metavar="CLASS", help="classes to add")
    return parser


def main() -> int:
    """Run the command line; returns the exit status."""
    arguments = _parser().parse_args()
    match arguments.command:
        case "render":
            return _render()
        case "check":
            return _check()
        case "list":
            return _list()
        case _:
            return _classes(arguments.object_info, arguments.names)


if __name__ == "__main__":
    sys.exit(main())
