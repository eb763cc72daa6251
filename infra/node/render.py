"""User data of the ECS node: a cloud-config document that fetches and installs the node's agent.

The agent itself is an object in the deployment's bucket, because user data should stay far below
16 KB, the limit that older documents and tools know. The document names the object by its hash.

Both are the same, byte for byte, on every machine that renders them from the same sources: a
difference would make Pulumi replace the instance. That is why they are packed with bzip2, which
has one implementation; the output of deflate differs between zlib and zlib-ng.
"""

import ast
import base64
import bz2
import hashlib
import io
import json
import tokenize
from dataclasses import asdict, dataclass
from pathlib import Path

import jinja2

MAX_BYTES = 12_000
"""ECS takes 32 KB before Base64 (API reference, RunInstances), older documents say 16 KB."""
NODE_SCHEMA = 1
AGENT_PREFIX = "node/"
"""Folder of the bucket from which the node's role may read."""
FOLDER = "/usr/local/lib/vace"
"""Where cloud-init puts the bootstrap, and that one the agent before it installs itself."""
BOOTSTRAP_UNIT = "vace-bootstrap.service"
"""Runs the bootstrap at every boot, and again while it fails, until the agent is installed."""

BOOTSTRAP_MODULES = ("__init__", "bootstrap", "cloud", "errors", "signing")
"""What the user data carries of the agent's package: bootstrap.py and what it imports."""

_BOOTSTRAP_MAIN = "import sys\nfrom vace_node.bootstrap import main\nsys.exit(main())\n"
_HERE = Path(__file__).parent


class UserDataError(ValueError):
    """The document does not fit into an instance's user data."""


@dataclass(frozen=True)
class NodeBootstrap:
    """What the node must know before it can ask the cloud; holds names, no secrets.

    Attributes:
        region: region id, for example ``cn-hangzhou``.
        settings_parameter: name of the OOS parameter with the desired state.
        token_secret: name of the OOS secret parameter with the API token.
        tls_secret: name of the OOS secret parameter with certificate and key.
        registry_secret: name of the OOS secret parameter with registry logins, if any.
        bucket: OSS bucket that holds the agent.
        endpoint: URL of OSS inside the region, without the bucket.
    """

    region: str
    settings_parameter: str
    token_secret: str
    tls_secret: str
    registry_secret: str | None
    bucket: str
    endpoint: str


@dataclass(frozen=True)
class AgentObject:
    """The agent as an object in the bucket: `key` names it by its hash, `content` is text."""

    key: str
    content: str
    sha256: str


def agent_object() -> AgentObject:
    """Return what the deployment must put into the bucket, and the user data then fetches."""
    content = _packed(agent_sources())
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return AgentObject(f"{AGENT_PREFIX}vace-node-{sha256[:16]}.b85", content, sha256)


def _packed(sources: dict[str, str]) -> str:
    # Base 85 instead of 64: four bytes take five characters instead of five and a third.
    return base64.b85encode(bz2.compress(json.dumps(sources).encode())).decode()


def render_user_data(settings: NodeBootstrap) -> str:
    """Return the ``#cloud-config`` document.

    Raises:
        UserDataError: the document is longer than :data:`MAX_BYTES`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (a YAML document, not a web page)
    )
    known = asdict(settings)
    place = {key: known.pop(key) for key in ("bucket", "endpoint")}
    agent = agent_object()
    source = {**place, "region": settings.region, "key": agent.key, "sha256": agent.sha256}
    text = environment.get_template("cloud-config.yaml.j2").render(
        node=json.dumps({"schema": NODE_SCHEMA, **known}, sort_keys=True) + "\n",
        agent=json.dumps(source, sort_keys=True) + "\n",
        folder=FOLDER,
        unit=BOOTSTRAP_UNIT,
        packed=_packed(bootstrap_sources()),
    )
    size = len(text.encode())
    if size > MAX_BYTES:
        raise UserDataError(
            f"the user data has {size} bytes, and {MAX_BYTES} are allowed, so that it stays well "
            "below 16 KB. Let bootstrap.py in infra/node/vace_node import less"
        )
    return text


def bootstrap_sources() -> dict[str, str]:
    """Return the files of the program in the user data, name -> text, in a fixed order."""
    wanted = {f"vace_node/{name}.py" for name in BOOTSTRAP_MODULES}
    chosen = {name: text for name, text in agent_sources().items() if name in wanted}
    return {"__main__.py": _BOOTSTRAP_MAIN, **chosen}


def agent_sources() -> dict[str, str]:
    """Return the members of the agent's zip archive, name -> text, in a fixed order.

    Comments and docstrings are left out; line numbers stay, so a traceback from a node fits the
    sources.
    """
    package = _HERE / "vace_node"
    members = {
        path.name if path.name == "__main__.py" else f"vace_node/{path.name}": (
            without_documentation(path.read_text())
        )
        for path in sorted(package.glob("*.py"))
    }
    for path in sorted((package / "files").iterdir()):
        members[f"vace_node/files/{path.name}"] = without_comments(path.read_text())
    return members


def without_documentation(source: str) -> str:
    """Return Python source without comments and docstrings, every statement on its old line."""
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is None:
            continue
        text = node.body[0]
        assert text.end_lineno is not None  # noqa: S101  (parsed sources have positions)
        lines[text.lineno - 1 : text.end_lineno] = [""] * (text.end_lineno - text.lineno + 1)
        if len(node.body) == 1 and not isinstance(node, ast.Module):
            lines[text.lineno - 1] = " " * text.col_offset + "pass"
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    return "\n".join(lines)


def without_comments(text: str) -> str:
    """Return a configuration file without its comment lines."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("#"))
