"""How a client proves who it is to a registry: credentials, challenges, tokens.

Credentials are looked for in this order: ``VACE_REGISTRY_USERNAME`` and
``VACE_REGISTRY_PASSWORD``, if ``VACE_REGISTRY_HOST`` is this registry's name with port; the file
that was given, ``REGISTRY_AUTH_FILE``, and the files that podman, buildah and docker write when one
logs in. A registry that answers 401 says whether it wants them as they are (Basic) or exchanged for
a token first (Bearer).
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from images.builder.errors import InputError

HOST_VARIABLE = "VACE_REGISTRY_HOST"
USERNAME_VARIABLE = "VACE_REGISTRY_USERNAME"
PASSWORD_VARIABLE = "VACE_REGISTRY_PASSWORD"  # noqa: S105 - a variable's name
FILE_VARIABLE = "REGISTRY_AUTH_FILE"
_PARAMETER = re.compile(r'([A-Za-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))')


@dataclass(frozen=True)
class Credentials:
    """Name and password, or a token to get others with; never shown."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """Value of the Authorization header for Basic."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True)
class Challenge:
    """What a registry asks for in ``WWW-Authenticate``.

    Attributes:
        scheme: ``basic`` or ``bearer``.
        parameters: ``realm``, ``service`` and ``scope``, as far as they are there.
    """

    scheme: str
    parameters: Mapping[str, str]


def parse_challenge(header: str) -> Challenge | None:
    """The challenge of a 401, or None when it is neither Basic nor Bearer."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() not in ("basic", "bearer"):
        return None
    found = {
        match[1].lower(): match[2] if match[2] is not None else match[3]
        for match in _PARAMETER.finditer(rest)
    }
    return Challenge(scheme.lower(), found)


def find_credentials(
    host: str, auth_file: Path | None = None, environment: Mapping[str, str] | None = None
) -> Credentials | None:
    """Credentials for a registry, or None when there are none.

    Raises:
        InputError: a file that was named does not exist, a file is damaged, or the environment
            has a name and password but not the registry that they are for.
    """
    env = os.environ if environment is None else environment
    given = env.get(USERNAME_VARIABLE) and env.get(PASSWORD_VARIABLE)
    if given and not env.get(HOST_VARIABLE):
        raise InputError(
            f"{USERNAME_VARIABLE} and {PASSWORD_VARIABLE} are set, but not {HOST_VARIABLE}. They "
            "are sent to one registry only, and nothing says to which. Set it to the name with "
            f"port as in references, for example {host}, or unset the two."
        )
    if given and env[HOST_VARIABLE] == host:
        return Credentials(env[USERNAME_VARIABLE], env[PASSWORD_VARIABLE])
    named = auth_file or (Path(env[FILE_VARIABLE]) if env.get(FILE_VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            raise InputError(
                f"the file with registry credentials {named} does not exist. Expected is a JSON "
                "file as `podman login --authfile FILE` or `docker login` writes it. Log in "
                "first, or name another file."
            )
        return _from_file(named, host)
    for file in _usual_files(env):
        if file.is_file() and (found := _from_file(file, host)):
            return found
    return None


def _usual_files(env: Mapping[str, str]) -> list[Path]:
    home = Path(env.get("HOME") or "/root")
    runtime = env.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
    docker = Path(env.get("DOCKER_CONFIG") or home / ".docker")
    config = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    return [
        Path(runtime) / "containers" / "auth.json",
        Path(f"/run/containers/{os.getuid()}/auth.json"),
        config / "containers" / "auth.json",
        docker / "config.json",
    ]


def _from_file(file: Path, host: str) -> Credentials | None:
    try:
        entries: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8")).get("auths") or {}
        # Some tools write addresses, and podman also paths; the registry's own entry counts.
        names = (host, f"https://{host}", f"https://{host}/v2/", f"https://{host}/")
        entry = next((entries[name] for name in names if name in entries), None)
        if entry is None:
            return None
        token = str(entry.get("identitytoken") or "")
        pair = base64.b64decode(entry.get("auth") or "", validate=True).decode()
        username, _, password = pair.partition(":")
        username, password = username or entry.get("username", ""), password.rstrip("\0")
        password = password or entry.get("password", "")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"the file with registry credentials {file} cannot be read: {type(error).__name__}. "
            "Expected is JSON with `auths`, as `podman login` or `docker login` writes it. "
            "Log in again, or name another file."
        ) from error
    if not (username and password) and not token:
        return None
    return Credentials(username, password, token)
