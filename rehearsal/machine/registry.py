"""The rehearsal's container registry: Debian's docker-registry, read-only, inside the cloud."""

from __future__ import annotations

import datetime
import json
import os
import socket
import subprocess
import time
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rehearsal.machine import namespaces
from rehearsal.machine.errors import MachineError
from rehearsal.machine.slots import REGISTRY_ADDRESS

NAME = "registry.vace.internal"
_DAYS = 30
_START_DEADLINE_S = 15.0


def issue_certificate(
    name: str, address: str, ca_certificate: Path, ca_key: Path, folder: Path
) -> tuple[Path, Path]:
    """Write a server certificate for ``name`` and ``address``, signed by the given authority.

    Returns the paths of the PEM certificate and of its key, which only root can read.
    """
    authority = x509.load_pem_x509_certificate(ca_certificate.read_bytes())
    signer = serialization.load_pem_private_key(ca_key.read_bytes(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise MachineError(
            f"{ca_key} holds a {type(signer).__name__}; the registry's certificate is signed with "
            "an elliptic curve key, as the emulator makes one. Give that key."
        )
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(IPv4Address(address))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


class Registry:
    """A docker-registry process in a cloud namespace; ends with ``close``."""

    def __init__(
        self,
        namespace: str,
        storage: Path,
        folder: Path,
        ca_certificate: Path,
        ca_key: Path,
    ) -> None:
        """Start it and wait until it accepts connections.

        ``storage`` is served read-only; ``folder`` receives configuration, certificate and log.
        """
        certificate, key = issue_certificate(NAME, REGISTRY_ADDRESS, ca_certificate, ca_key, folder)
        storage.mkdir(parents=True, exist_ok=True)
        configuration = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": str(storage)},
                "maintenance": {
                    "readonly": {"enabled": True},
                    "uploadpurging": {"enabled": False},
                },
            },
            "http": {
                "addr": f"{REGISTRY_ADDRESS}:443",
                "tls": {"certificate": str(certificate), "key": str(key)},
            },
        }
        # JSON is YAML.
        (folder / "config.yml").write_text(json.dumps(configuration, indent=1))
        log = folder / "registry.log"
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                [
                    *("nsenter", f"--net={namespaces.FOLDER / namespace}", "--"),
                    *("docker-registry", "serve", str(folder / "config.yml")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                # The registry ends with close(), not with an interrupt meant for its parent.
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", os.defpath), "OTEL_TRACES_EXPORTER": "none"},
            )
        deadline = time.monotonic() + _START_DEADLINE_S
        while not namespaces.call(namespace, _accepts):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise MachineError(
                    f"the registry does not answer at {REGISTRY_ADDRESS}:443; its log ends with: "
                    f"{log.read_text(errors='replace')[-1000:]}"
                )
            time.sleep(0.05)

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def _accepts() -> bool:
    try:
        socket.create_connection((REGISTRY_ADDRESS, 443), timeout=1).close()
    except OSError:
        return False
    return True
