"""The config table of the README, made from ``Pulumi.yaml``.

``python -m infra.reference`` prints it; ``--write`` puts it between the markers in ``README.md``,
and ``--check`` fails when the README is stale.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- config: begin -->", "<!-- config: end -->"


def table(project_file: str) -> str:
    """Return a Markdown table of every config key in the text of a ``Pulumi.yaml``."""
    lines = ["| key | type | default | what it does |", "|---|---|---|---|"]
    for key, schema in yaml.safe_load(project_file)["config"].items():
        default = schema.get("default", None)
        if default is None:
            shown = "**required**"
        elif default in ("", []):
            shown = "empty"
        else:
            shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
        lines.append(f"| `{key}` | {schema['type']} | {shown} | {schema['description']} |")
    return "\n".join(lines)


def insert(readme: str, content: str) -> str:
    """Return ``readme`` with ``content`` between the markers.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the markers {BEGIN} and {END}; put them back")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``python -m infra.reference``."""
    parser = argparse.ArgumentParser(prog="python -m infra.reference", description=__doc__)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="update README.md")
    action.add_argument("--check", action="store_true", help="fail when README.md is stale")
    options = parser.parse_args(argv)
    content = table((REPOSITORY / "Pulumi.yaml").read_text(encoding="utf-8"))
    path = REPOSITORY / "README.md"
    if not options.write and not options.check:
        print(content)
        return 0
    old = path.read_text(encoding="utf-8")
    new = insert(old, content)
    if options.write:
        path.write_text(new, encoding="utf-8")
    elif old != new:
        print("README.md is stale. Run: python -m infra.reference --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
