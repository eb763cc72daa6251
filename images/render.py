"""``python -m images render``: Containerfiles from templates and the lock.

The rendered files are committed, so that a change shows as a difference that people read.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from images import lock as lock_module
from images.errors import RenderError, RenderStaleError
from images.lock import FOLDER, LOCK, PINS, Lock
from images.pins import Pins
from images.pins import load as load_pins
from images.variants import find

TEMPLATES = FOLDER / "templates"
RENDERED = FOLDER / "rendered"
COMMAND = "python -m images render"
SUFFIX = ".Containerfile"


def render(lock: Lock, pins: Pins, templates: Path = TEMPLATES) -> dict[str, str]:
    """Return file name -> text of every Containerfile.

    Raises:
        RenderError: a template is missing, is no template, or uses a variable that does not exist.
        VariantError: the lock has a variant that ``variants.toml`` lacks.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (Containerfiles, not web pages)
    )
    python = pins.python.version
    common: dict[str, Any] = {
        "lock": lock,
        "python": python,
        "site_packages": f"/opt/venv/lib/python{python}/site-packages",
        "pip": lock.wheels_of("pip")[0].filename,
        "requested": lambda image: [each for each in pins.debian.packages if image in each.images],
        "nodes": [source for source in lock.git.values() if source.path],
        "weights": lock.weights["files"],
    }
    found = {
        f"{image}{SUFFIX}": _render(environment, image, common)
        for image in ("weights", "comfyui-vace", "gateway")
    }
    for variant in lock.variants.values():
        own = {"variant": find(variant.name), "groups": variant.groups}
        found[f"comfyui-{variant.name}{SUFFIX}"] = _render(
            environment, "comfyui", {**common, **own}
        )
    return dict(sorted(found.items()))


def _render(environment: jinja2.Environment, image: str, values: Mapping[str, Any]) -> str:
    try:
        text = environment.get_template(f"{image}.j2").render(values)
    except jinja2.UndefinedError as error:
        raise RenderError(
            f"template {image}.j2 uses something that does not exist: {error.message}. It may use "
            f"{', '.join(sorted(values))} and their attributes; an empty value would give a "
            "Containerfile that builds something else. Correct the name in images/templates"
        ) from None
    except jinja2.TemplateError as error:
        raise RenderError(
            f"template {image}.j2 cannot be read: {type(error).__name__}: {error}. It is a Jinja2 "
            "template in images/templates. Correct it, or restore it with git"
        ) from None
    except KeyError as error:
        raise RenderError(
            f"template {image}.j2 asks the lock for {error}, which it does not have. Correct the "
            "name in images/templates"
        ) from None
    lines = [line.rstrip() for line in text.strip().splitlines()]
    kept = [line for index, line in enumerate(lines) if line or (index and lines[index - 1])]
    return "\n".join(kept) + "\n"


def difference(wanted: Mapping[str, str], folder: Path = RENDERED) -> str:
    """Return what differs between the rendered files and those in ``folder``; empty for nothing."""
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob(f"*{SUFFIX}")}
    parts: list[str] = []
    for name in sorted({*wanted, *there}):
        parts += difflib.unified_diff(
            there.get(name, "").splitlines(keepends=True),
            wanted.get(name, "").splitlines(keepends=True),
            f"rendered/{name} in the repository" if name in there else "(not in the repository)",
            f"rendered/{name} from the templates" if name in wanted else "(no longer rendered)",
        )
    return "".join(parts)


def check_rendered(wanted: Mapping[str, str], folder: Path = RENDERED) -> None:
    """Check that the committed Containerfiles are what the templates give.

    Raises:
        RenderStaleError: with the difference and the command that ends it.
    """
    found = difference(wanted, folder)
    if found:
        raise RenderStaleError(
            f"{found}\nthe Containerfiles in images/rendered are not what the templates and "
            f"{LOCK.name} give; they are committed so that reviews see what is built. Run: "
            f"{COMMAND}"
        )


def write(wanted: Mapping[str, str], folder: Path = RENDERED) -> list[str]:
    """Write the files, remove those that are no longer rendered; return the names that changed."""
    folder.mkdir(exist_ok=True)
    changed = []
    for path in folder.glob(f"*{SUFFIX}"):
        if path.name not in wanted:
            path.unlink()
            changed.append(path.name)
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return sorted(changed)


def current() -> dict[str, str]:
    """Return what the repository's lock and templates give.

    Raises:
        ImagesError: pins, lock or templates are damaged, or the lock does not match the pins.
    """
    lock = lock_module.load(LOCK)
    lock_module.check_fresh(lock, PINS)
    return render(lock, load_pins(PINS))


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``render``."""
    parser = subparsers.add_parser("render", help="write the Containerfiles from the templates")
    parser.add_argument(
        "--check", action="store_true", help="only compare; status 2 and a difference if stale"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Render, or compare."""
    wanted = current()
    if arguments.check:
        check_rendered(wanted)
        print(f"{len(wanted)} Containerfiles are what the templates give")
        return 0
    changed = write(wanted)
    print(f"{len(wanted)} Containerfiles; changed: {', '.join(changed) or 'none'}")
    return 0
