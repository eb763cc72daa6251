"""The provider's kubeconfig: from text or a file, made independent of where it is written."""

import json
import os
from pathlib import Path
from typing import Any

import yaml


class KubeconfigError(Exception):
    """The kubeconfig cannot be used; the message tells what to do."""


def parse(given: str, folder: Path, context: str = "") -> dict[str, Any]:
    """Return the kubeconfig in ``given``: YAML or JSON text, or the path of a file.

    A path and the relative command of a credential plugin count from ``folder``, the project's:
    the tools would take them from where the kubeconfig lies, and that is a private temporary file.

    Raises:
        KubeconfigError: it is no kubeconfig, or has no context of the name ``context``.
    """
    text, base = given, folder
    if "\n" not in given and "{" not in given:
        path = folder / Path(given).expanduser()
        if not path.is_file():
            raise KubeconfigError(
                "kubeconfig is neither YAML or JSON text nor the path of a file: "
                f"{str(path)!r} does not exist. Pass the text, or a path that counts from the "
                "project's folder."
            )
        text, base = path.read_text(), path.parent
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The error's own text quotes the document, which may hold keys.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise KubeconfigError(
            f"kubeconfig is not valid YAML or JSON{where}; the tools for Kubernetes need a "
            "document of kind Config. Pass the kubeconfig as the cluster gave it."
        ) from None
    if not isinstance(document, dict) or not document.get("clusters"):
        raise KubeconfigError(
            "kubeconfig names no cluster; a document of kind Config with clusters, users and "
            "contexts is needed to reach one. Pass the kubeconfig as the cluster gave it."
        )
    names = [str(entry.get("name")) for entry in document.get("contexts") or []]
    if context:
        if context not in names:
            raise KubeconfigError(
                f"context {context!r} is not in the kubeconfig, which has {names}. Name one of "
                "them, or leave `context` out to use the current one."
            )
        document["current-context"] = context
    for user in document.get("users") or []:
        _absolute(user.get("user") or {}, folder, base)
    for cluster in document["clusters"]:
        _absolute_files(cluster.get("cluster") or {}, ("certificate-authority",), base)
    return document


def _absolute(user: dict[str, Any], folder: Path, base: Path) -> None:
    _absolute_files(user, ("client-certificate", "client-key", "tokenFile"), base)
    plugin = user.get("exec") or {}
    command = str(plugin.get("command") or "")
    # A bare name is looked for on PATH; joined, not resolved: links select virtual environments.
    if os.sep in command and not Path(command).is_absolute():
        plugin["command"] = str(folder / command)


def _absolute_files(section: dict[str, Any], keys: tuple[str, ...], base: Path) -> None:
    for key in keys:
        if section.get(key):
            section[key] = str(base / str(section[key]))


def servers(document: dict[str, Any]) -> list[str]:
    """Return the addresses of the clusters: another address is another cluster."""
    found = [(entry.get("cluster") or {}).get("server", "") for entry in document["clusters"]]
    return sorted(str(address) for address in found)


def write(document: dict[str, Any], path: Path) -> Path:
    """Write the kubeconfig for the tools, readable by this user only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file)
    return path
