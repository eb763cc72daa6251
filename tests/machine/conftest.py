"""One emulated cloud with a machine that has booted, shared by the tests of a module."""

from __future__ import annotations

import datetime
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rehearsal.cloud.hypervisor import CommandResult, FirewallRule, MachineSpec
from tests.machine.imds import TinyMetadataService

USER_DATA = """\
#cloud-config
write_files:
- path: /etc/systemd/system/web.service
  content: |
    [Service]
    ExecStart=/usr/bin/python3 -m http.server --directory /srv 8080
    [Install]
    WantedBy=multi-user.target
- path: /srv/index.html
  content: served by a unit from user data
runcmd:
- [systemctl, enable, --now, web.service]
"""
WEB = FirewallRule("ingress", "tcp", 8080, 8080, "198.18.0.0/16", "accept", 1)


def wait_until(what: str, check: Callable[[], object], deadline_s: float = 30) -> None:
    """Poll until ``check`` is true; fail with its last answer."""
    deadline = time.monotonic() + deadline_s
    while not (last := check()):
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}; last: {last!r}"
        time.sleep(0.05)


def fetch(url: str, timeout_s: float = 1) -> str:
    """Body of a page, or an empty string when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            return str(response.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def make_authority(folder: Path) -> tuple[Path, Path]:
    """A certificate authority as the emulator has one; paths of certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    now = datetime.datetime.now(datetime.UTC)
    usage = {
        field: field in ("key_cert_sign", "crl_sign", "digital_signature")
        for field in (
            *("digital_signature", "content_commitment", "key_encipherment", "encipher_only"),
            *("data_encipherment", "key_agreement", "key_cert_sign", "crl_sign", "decipher_only"),
        )
    }
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "ca.pem", folder / "ca.key"


@dataclass
class Cloud:
    """A hypervisor, and the metadata service that its machines ask."""

    hypervisor: object
    metadata: TinyMetadataService
    state: Path

    def spec(self, number: int, memory_mib: int = 2048) -> MachineSpec:
        """Identity of the machine with this number (1 to 99)."""
        return MachineSpec(
            instance_id=f"i-bp1test{number:012}",
            hostname=f"iz-test-{number}",
            private_ip=f"192.168.7.{number}",
            mac=f"00:16:3e:07:00:{number:02}",
            zone_id="cn-hangzhou-h",
            memory_mib=memory_mib,
            image_id="ubuntu_24_04_x64_20G_alibase_20250101.vhd",
        )

    def boot(self, number: int) -> MachineSpec:
        """Launch a machine with ``USER_DATA``."""
        spec = self.spec(number)
        self.metadata.add(spec, USER_DATA)
        self.hypervisor.apply_rules(spec.instance_id, [WEB])  # type: ignore[attr-defined]
        self.hypervisor.launch(spec)  # type: ignore[attr-defined]
        return spec

    def run(self, spec: MachineSpec, script: str, timeout_s: int = 60) -> CommandResult:
        """Run a shell script as root in a machine."""
        result: CommandResult = self.hypervisor.run_command(  # type: ignore[attr-defined]
            spec.instance_id,
            script.encode(),
            interpreter="sh",
            working_dir="/root",
            timeout_s=timeout_s,
            user="root",
        )
        return result

    def output(self, spec: MachineSpec, script: str) -> str:
        """Output of a script that must succeed."""
        result = self.run(spec, script)
        text = result.output.decode(errors="replace").replace("\r", "")
        assert result.exit_code == 0, f"exit code {result.exit_code}: {text}"
        return text.strip()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """A cloud on a free slot; everything of it is removed at the end."""
    from rehearsal.machine import PodmanHypervisor  # noqa: PLC0415
    from rehearsal.machine.cleanup import clean_slot  # noqa: PLC0415

    # Not pytest's own temporary folder: that one may lie on a tmpfs too small for containers.
    state = Path(os.environ.get("TMPDIR", "/var/tmp")) / f"vace-machine-test-{os.getpid()}"
    state.mkdir()
    hypervisor = PodmanHypervisor(state, None, *make_authority(state))
    metadata = TinyMetadataService(hypervisor.network_sockets().imds)
    try:
        yield Cloud(hypervisor, metadata, state)
    finally:
        metadata.close()
        hypervisor.close()
        clean_slot(hypervisor.slot)
        shutil.rmtree(state)
