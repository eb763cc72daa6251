"""What the README names exists: config keys, files, commands, outputs."""

import importlib.util
import re
from pathlib import Path

import pytest

from infra import reference

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for path in REPOSITORY.rglob("README.md")
    if not {".venv", ".rehearsal", ".pytest_cache"} & set(path.relative_to(REPOSITORY).parts)
)
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_config_table_is_current() -> None:
    """Prevents a key that the README describes otherwise than Pulumi.yaml."""
    table = reference.table((REPOSITORY / "Pulumi.yaml").read_text(encoding="utf-8"))
    assert reference.insert(README, table) == README, "run: python -m infra.reference --write"


def test_a_stale_table_is_seen() -> None:
    stale = README.replace("| `owner` |", "| `proprietor` |")
    table = reference.table((REPOSITORY / "Pulumi.yaml").read_text(encoding="utf-8"))
    assert reference.insert(stale, table) != stale


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_make_target_and_module_exists(page: Path) -> None:
    """Prevents a command that works only in its author's memory."""
    text = page.read_text(encoding="utf-8")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for module in re.findall(r"python3? -m ([a-z_]+(?:\.[a-z_]+)*)", text):
        assert importlib.util.find_spec(module), f"python -m {module}"


def test_every_output_is_described() -> None:
    program = (REPOSITORY / "infra" / "deployments" / "ecs.py").read_text(encoding="utf-8")
    returned = program[program.index("    return {") :]
    for output in re.findall(r'^        "(\w+)":', returned, re.MULTILINE):
        assert f"`{output}`" in README, output
