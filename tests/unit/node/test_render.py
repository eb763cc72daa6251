"""User data: size, determinism, no secrets, and that what it unpacks runs."""

import ast
import base64
import bz2
import configparser
import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.node import render
from infra.node.render import NodeBootstrap, UserDataError, render_user_data
from infra.node.vace_node import bootstrap, install
from infra.node.vace_node.settings import parse_node_file

BOOTSTRAP = NodeBootstrap(
    region="cn-hangzhou",
    settings_parameter="wan-vace-dev-node",
    token_secret="wan-vace-dev-token",
    tls_secret="wan-vace-dev-tls",
    registry_secret="wan-vace-dev-registry",
    bucket="wan-vace-dev-results-0a1b2c3d",
    endpoint="https://oss-cn-hangzhou-internal.aliyuncs.com",
)
AGENT = Path(render.__file__).parent / "vace_node"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The rendered document as cloud-init's YAML parser sees it."""
    loaded = yaml.safe_load(render_user_data(BOOTSTRAP))
    assert isinstance(loaded, dict)
    return loaded


def content(document: dict[str, Any], name: str) -> str:
    """The content of the file `name` among write_files."""
    return next(str(f["content"]) for f in document["write_files"] if f["path"].endswith(name))


def test_user_data_is_a_cloud_config_within_the_limit_of_ecs() -> None:
    """ECS refuses RunInstances with longer user data; cloud-init ignores another first line."""
    text = render_user_data(BOOTSTRAP)
    assert text.startswith("#cloud-config\n")
    assert len(text.encode()) <= render.MAX_BYTES < 16 * 1024


def test_user_data_that_is_too_long_is_refused_with_both_sizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without this, the mistake would show after the network was built, as an API error."""
    monkeypatch.setattr(render, "MAX_BYTES", 1000)
    with pytest.raises(UserDataError, match=r"has \d+ bytes, and 1000 are allowed"):
        render_user_data(BOOTSTRAP)


def test_two_processes_render_the_same_bytes() -> None:
    """A difference makes Pulumi replace the machine. Hash seeds differ between processes."""
    script = (
        "import hashlib; from infra.node.render import *; "
        f"print(hashlib.sha256(render_user_data({BOOTSTRAP!r}).encode()).hexdigest())"
    )
    root = Path(render.__file__).parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "TZ": zone},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Shanghai"))
    }
    assert len(digests) == 1


def test_node_file_is_what_the_agent_reads(document: dict[str, Any]) -> None:
    """Writer and reader of node.json are different programs; this keeps them together."""
    node = parse_node_file(content(document, "node.json"))
    written = dataclasses.asdict(BOOTSTRAP)
    assert dataclasses.asdict(node) == {
        name: value for name, value in written.items() if name not in ("bucket", "endpoint")
    }


def test_user_data_holds_no_secret(document: dict[str, Any]) -> None:
    """Everyone who may call DescribeUserData, and every process on the node, can read it."""
    sources = bz2.decompress(base64.b85decode(content(document, ".b85").strip()))
    sources += bz2.decompress(base64.b85decode(render.agent_object().content))
    secret = rb"LTAI\w{8}|STS\.\w{8}|BEGIN [A-Z ]*PRIVATE KEY-----\s|[Pp]assword\":"
    for text in (content(document, "node.json").encode(), sources):
        assert not re.search(secret, text)


def test_the_bootstrap_unpacks_itself_again_at_every_start(
    document: dict[str, Any], tmp_path: Path
) -> None:
    """The unit starts it with the image's Python, also after a start that was cut off."""
    for name in ("bootstrap.b85", "bootstrap.py"):
        (tmp_path / name).write_text(content(document, name))
    (tmp_path / "bootstrap" / "vace_node").mkdir(parents=True)
    (tmp_path / "bootstrap" / "vace_node" / "bootstrap.py").write_text("cut o")
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "bootstrap.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    # No node.json here: it got as far as reading that.
    assert "No such file or directory: '/etc/vace/agent.json'" in ended.stderr
    script = (
        "from vace_node.bootstrap import Source; import json, sys; Source(**json.load(sys.stdin))"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path / "bootstrap",
        input=content(document, "agent.json"),
        text=True,
        check=True,
    )


def test_the_bootstrap_is_a_unit_that_tries_until_the_agent_is_there(
    document: dict[str, Any],
) -> None:
    """The role can come an hour after the machine, when `pulumi up` was killed in between."""
    last = document["write_files"][-1]
    assert last["path"] == f"/etc/systemd/system/{render.BOOTSTRAP_UNIT}"
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(last["content"])
    assert unit["Unit"]["ConditionPathExists"] == f"!{install.AGENT}"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["Restart"] == "on-failure"
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    files = {file["path"] for file in document["write_files"]}
    assert unit["Service"]["ExecStart"].split()[1] in files
    assert document["runcmd"] == [
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "--now", "--no-block", render.BOOTSTRAP_UNIT],
    ]


def test_the_agent_runs_as_the_bootstrap_writes_it(tmp_path: Path) -> None:
    agent = render.agent_object()
    sources = bootstrap.unpack(agent.content.encode(), agent.sha256)
    bootstrap.write_archive(tmp_path / "vace-node.pyz", sources)
    assert [path.name for path in tmp_path.iterdir()] == ["vace-node.pyz"]
    shown = subprocess.run(
        [sys.executable, str(tmp_path / "vace-node.pyz"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for command in ("install", "converge", "credentials", "status", "wait", "results"):
        assert command in shown


def test_packing_drops_documentation_and_keeps_line_numbers() -> None:
    """A traceback from a node must point at the right line of the sources."""
    source = (
        'class A(Exception):\n    """Doc."""\n\nx = "# no comment"  # one\n\n'
        'def f():\n    """D."""\n    return 1\n'
    )
    packed = render.without_documentation(source)
    assert "Doc" not in packed
    assert "one" not in packed
    assert packed.split("\n")[3] == 'x = "# no comment"'
    lines = [node.lineno for node in ast.parse(source).body]
    assert [node.lineno for node in ast.parse(packed).body] == lines


@pytest.mark.parametrize("path", sorted(AGENT.glob("*.py")), ids=lambda path: path.name)
def test_agent_is_python_3_10(path: Path) -> None:
    """The node runs the image's Python; newer syntax would stop it at its first start."""
    ast.parse(path.read_text(), feature_version=(3, 10))


def test_agent_imports_only_the_standard_library() -> None:
    """Nothing is installed on the node when the agent starts."""
    allowed = set(sys.stdlib_module_names) | {"vace_node"}
    for path in AGENT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, path.name
