"""Where the service is and how to prove who we are: URL, token, trusted authority."""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from smoke_tests.comfy_client.errors import BadTarget

TOKEN_VARIABLE = "VACE_API_TOKEN"  # noqa: S105 - the name of a variable, not a token
KEYRING_SERVICE = "wan-vace"  # the user of an entry is the host of the URL


@dataclass(frozen=True)
class Target:
    """A service to talk to. Build it with `Target.of`, which validates.

    Attributes:
        url: scheme, host and port, and a path if the service has a prefix; no trailing slash.
        token: bearer token, or an empty string for a server that asks for none.
        ca_pem: certificates of authorities; when given, ONLY these are trusted.
        ca_source: where `ca_pem` comes from, for messages.
    """

    url: str
    token: str = field(default="", repr=False)
    ca_pem: str = field(default="", repr=False)
    ca_source: str = ""

    @classmethod
    def of(
        cls,
        url: str,
        *,
        token: str = "",
        token_file: Path | None = None,
        ca_pem: str = "",
        ca_file: Path | None = None,
        allow_plain_http: bool = False,
        keyring: bool = False,
    ) -> Target:
        """Check and assemble a target.

        The token is the content of `token_file`, else `token`, else of the environment variable
        VACE_API_TOKEN, else, with `keyring`, of the keyring's entry for this host, else empty.
        Never take it from a command line: those are visible to every user of a machine.
        `ca_file` goes before `ca_pem` likewise.

        Raises:
            BadTarget: a file that cannot be read, a URL that cannot be used, or a token that
                would cross a network unencrypted without `allow_plain_http`.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadTarget(
                f"--url is {url!r}; it must look like https://host or http://host:port."
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise BadTarget(
                f"--url for {parts.hostname} carries a user, a query or a fragment; "
                "only scheme, host, port and path are allowed, secrets belong in the token file."
            )
        try:
            _ = parts.port
        except ValueError as error:
            raise BadTarget(f"--url is {url!r}; its port must be between 1 and 65535.") from error
        token = _token(token_file, token, parts.hostname if keyring else "")
        if parts.scheme == "http" and token and not (is_loopback(url) or allow_plain_http):
            raise BadTarget(
                f"--url is {url}: over plain http everybody on the way could read the token.",
                remedy="Use https://, or say --allow-plain-http if the network is private.",
            )
        source = "the given authority" if ca_pem else ""
        if ca_file is not None:
            source = f"--ca-file {ca_file}"
            try:
                ca_pem = ca_file.read_text(encoding="ascii")
            except (OSError, UnicodeDecodeError) as error:
                raise BadTarget(f"{source} cannot be read as PEM text ({error}).") from error
        target = cls(url=url.rstrip("/"), token=token, ca_pem=ca_pem, ca_source=source)
        target.ssl_context()  # a bad CA is told now, not with the first request
        return target

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("https:")

    @property
    def host(self) -> str:
        """Host name or address, without port."""
        return urlsplit(self.url).hostname or ""

    @property
    def websocket_url(self) -> str:
        """The URL of ComfyUI's event stream, without the client id."""
        return ("wss" if self.secure else "ws") + self.url[self.url.index(":") :] + "/ws"

    def headers(self) -> dict[str, str]:
        """The headers that every request carries."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def ssl_context(self) -> ssl.SSLContext | None:
        """A verifying TLS context; None for plain http.

        Without a CA file the system's store is used, which also honours SSL_CERT_FILE.

        Raises:
            BadTarget: the CA is no certificate.
        """
        if not self.secure:
            return None
        if not self.ca_source:
            return ssl.create_default_context()
        try:
            return ssl.create_default_context(cadata=self.ca_pem)
        except (ssl.SSLError, ValueError) as error:
            raise BadTarget(
                f"{self.ca_source} cannot be used ({error}); "
                "it must hold one or more certificates in PEM form."
            ) from error


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine itself."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(token_file: Path | None, given: str, keyring_host: str) -> str:
    if token_file is not None:
        source = f"--token-file {token_file}"
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadTarget(f"{source} cannot be read ({error}).") from error
        if not token:
            raise BadTarget(f"{source} is empty; it must hold the token and nothing else.")
    elif given:
        source, token = "the given token", given.strip()
    else:
        source, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token and keyring_host:
            source, token = "the keyring's entry", _from_keyring(keyring_host)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise BadTarget(
            f"{source} holds {len(token)} characters with blanks, line breaks or non-ASCII text "
            "among them; a bearer token is one word of printable ASCII."
        )
    return token


def _from_keyring(host: str) -> str:
    """The token that the desktop's or the pipeline's secret store keeps for a host."""
    remedy = (
        f"Store it with `keyring set {KEYRING_SERVICE} {host}`, or use --token-file "
        f"or {TOKEN_VARIABLE}."
    )
    try:
        # an optional dependency, and slow to import: it looks for secret stores
        import keyring  # noqa: PLC0415

        token = keyring.get_password(KEYRING_SERVICE, host)
    except ImportError as error:
        raise BadTarget(
            "--keyring needs the Python package keyring, which is not installed.", remedy=remedy
        ) from error
    except Exception as error:
        # each secret store has errors of its own, such as a D-Bus that is not there
        raise BadTarget(f"The keyring cannot be read ({error}).", remedy=remedy) from error
    if not token:
        raise BadTarget(
            f"The keyring has no entry of service {KEYRING_SERVICE!r} for user {host!r}.",
            remedy=remedy,
        )
    return token.strip()
