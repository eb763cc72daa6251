"""The provider's kubeconfig."""

import json
from pathlib import Path
from typing import Any

import pytest

from rehearsal.kubernetes_plugin import kubeconfig

DOCUMENT: dict[str, Any] = {
    "clusters": [{"name": "c", "cluster": {"server": "https://203.0.113.2:6443"}}],
    "users": [
        {"name": "u", "user": {"exec": {"command": ".venv/bin/python", "args": ["-m", "x"]}}}
    ],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
}


def test_a_relative_credential_plugin_counts_from_the_project(tmp_path: Path) -> None:
    """Tools would look for it beside the private temporary file, where it is not."""
    parsed = kubeconfig.parse(json.dumps(DOCUMENT), tmp_path)
    assert parsed["users"][0]["user"]["exec"]["command"] == str(tmp_path / ".venv/bin/python")


def test_a_path_is_read_and_written_readable_by_the_user_only(tmp_path: Path) -> None:
    """A kubeconfig may hold keys: nobody else on the computer may read the copy."""
    (tmp_path / "given.json").write_text(json.dumps(DOCUMENT))
    parsed = kubeconfig.parse("given.json", tmp_path, "c")
    path = kubeconfig.write(parsed, tmp_path / "kubeconfig")
    assert path.stat().st_mode & 0o777 == 0o600
    assert kubeconfig.servers(json.loads(path.read_text())) == ["https://203.0.113.2:6443"]
    assert parsed["current-context"] == "c"


@pytest.mark.parametrize(
    ("given", "context", "said"),
    [
        ("missing.yaml", "", "does not exist"),
        ("{a: [", "", "not valid YAML"),
        ("{a: b}", "", "names no cluster"),
        (json.dumps(DOCUMENT), "other", "is not in the kubeconfig"),
    ],
)
def test_an_unusable_kubeconfig_is_refused_with_a_sentence(
    tmp_path: Path, given: str, context: str, said: str
) -> None:
    """A typo must not end in a tool's message about localhost:8080."""
    with pytest.raises(kubeconfig.KubeconfigError, match=said):
        kubeconfig.parse(given, tmp_path, context)
