"""Token and TLS identity of the gateway: from OOS secrets into files that are never on a disk.

/run is a tmpfs; the files are readable by the gateway's user only and replaced atomically, so
that the gateway, told by SIGHUP, never reads half of one.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from .cloud import ParameterStore
from .errors import SettingsError
from .settings import NodeFile
from .system import fingerprint, write_file

FOLDER = Path("/run/vace")
GATEWAY_UID = 10002
TOKEN = "token"  # noqa: S105  (a file name)
CERTIFICATE = "tls.crt"
KEY = "tls.key"
# A token shorter than this could be guessed; the deployment makes 43 characters.
_SHORTEST_TOKEN = 32


@dataclass(frozen=True)
class Credentials:
    """What the gateway needs. `certificate` is the PEM chain, the server's own first."""

    token: str = field(repr=False)
    certificate: str = field(repr=False)
    private_key: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Changes when any part changes; tells nothing about the parts."""
        return fingerprint(self.token, self.certificate, self.private_key)


def fetch(store: ParameterStore, node: NodeFile) -> Credentials:
    """Read the secrets. Raises CloudError, or SettingsError when one has a wrong form.

    No value appears in a message.
    """
    token = store.secret(node.token_secret)
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise SettingsError(
            f"the secret parameter {node.token_secret}",
            [f"the token must be {_SHORTEST_TOKEN} or more visible ASCII characters"],
        )
    source = f"the secret parameter {node.tls_secret}"
    try:
        document = json.loads(store.secret(node.tls_secret))
    except ValueError as error:
        raise SettingsError(source, ["it is not JSON"]) from error
    problems = [
        f"{key} is missing; it must be PEM text"
        for key in ("certificate", "private_key")
        if not isinstance(document, dict) or "-----BEGIN " not in str(document.get(key))
    ]
    if problems:
        raise SettingsError(source, problems)
    return Credentials(token, document["certificate"], document["private_key"])


def install(credentials: Credentials, folder: Path = FOLDER, *, uid: int = GATEWAY_UID) -> bool:
    """Write the files; True when anything changed.

    Raises SettingsError when certificate and key do not belong together; then nothing changes.
    """
    folder.mkdir(mode=0o750, exist_ok=True)
    os.chown(folder, 0 if os.geteuid() == 0 else -1, uid)
    folder.chmod(0o750)
    _check_pair(credentials, folder)
    files = {
        TOKEN: credentials.token,
        CERTIFICATE: credentials.certificate,
        KEY: credentials.private_key,
    }
    changes = [
        write_file(folder / name, text, mode=0o400, uid=uid, gid=uid)
        for name, text in files.items()
    ]
    return any(changes)


def _check_pair(credentials: Credentials, folder: Path) -> None:
    certificate, key = folder / ".check.crt", folder / ".check.key"
    try:
        write_file(certificate, credentials.certificate, mode=0o400)
        write_file(key, credentials.private_key, mode=0o400)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise SettingsError(
            "the TLS secret parameter",
            [f"certificate and private_key do not belong together ({error.reason})"],
        ) from error
    finally:
        certificate.unlink(missing_ok=True)
        key.unlink(missing_ok=True)


def expiry(certificate: str) -> datetime:
    """When the first certificate of a PEM text ends (UTC).

    The standard library has no reader of certificates; this one walks the DER form (RFC 5280,
    4.1) to `validity`. Raises ValueError for anything else than a certificate.
    """
    end = certificate.find(_PEM_END)
    if end < 0:
        raise ValueError("no certificate in PEM form")
    der = ssl.PEM_cert_to_DER_cert(
        certificate[certificate.find("-----BEGIN") : end + len(_PEM_END)]
    )
    try:
        fields = list(_der_items(next(_der_items(next(_der_items(der))[1]))[1]))
        # The version, tagged [0], is optional; then serial number, algorithm, issuer, validity.
        validity = fields[4 if fields[0][0] == 0xA0 else 3][1]
        tag, text = list(_der_items(validity))[1]
    except (IndexError, StopIteration) as error:
        raise ValueError("the certificate is cut off") from error
    # UTCTime has two digits of the year, and means 1950 to 2049.
    form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode(), form).replace(tzinfo=timezone.utc)


_PEM_END = "-----END CERTIFICATE-----"


def _der_items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of the DER values in `data`. Raises IndexError where it is cut off."""
    while data:
        tag, length, start = data[0], data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            raise IndexError
        yield tag, data[start : start + length]
        data = data[start + length :]


def installed(folder: Path = FOLDER) -> Credentials | None:
    """What the files hold now; None when one is missing."""
    try:
        return Credentials(*((folder / name).read_text() for name in (TOKEN, CERTIFICATE, KEY)))
    except FileNotFoundError:
        return None
