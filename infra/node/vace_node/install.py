"""The command `install`, called by the bootstrap: puts units and configuration into place.

vace-bootstrap.service calls until the agent is at its place, so that is done last: an installation
that is cut off anywhere is done again.
"""

from __future__ import annotations

import pkgutil
import sys
from pathlib import Path

from .errors import NodeError
from .system import run, write_file

UNITS = Path("/etc/systemd/system")
AGENT = Path("/usr/local/bin/vace-node")
# name in files/ -> where it goes, for those that are no units
PLACES = {
    "firewall.nft": Path("/etc/vace/firewall.nft"),
    "journald.conf": Path("/etc/systemd/journald.conf.d/vace.conf"),
    "sshd.conf": Path("/etc/ssh/sshd_config.d/10-vace.conf"),
    "unattended-upgrades.conf": Path("/etc/apt/apt.conf.d/60vace-nvidia"),
}
UNIT_FILES = (
    "vace-credentials.service",
    "vace-firewall.service",
    "vace-node.service",
    "vace-node.timer",
    "vace-results.service",
    "vace-results.timer",
)
ENABLED = ("vace-firewall.service", "vace-node.timer", "vace-results.timer")
# Without --no-block, the bootstrap would wait for the images. The firewall is started by the first
# run, which installs nft where it is missing.
STARTED = ("vace-node.service", "vace-node.timer", "vace-results.timer")


def file(name: str) -> bytes:
    """A file of this package's folder `files`, also from inside the archive."""
    data = pkgutil.get_data(__package__ or "vace_node", f"files/{name}")
    if data is None:
        raise NodeError(f"this agent was packed without files/{name}", permanent=True)
    return data


def install_files(root: Path = Path("/")) -> None:
    """Write units and configuration below `root`."""
    for name in UNIT_FILES:
        write_file(root / (UNITS / name).relative_to("/"), file(name))
    for name, path in PLACES.items():
        write_file(root / path.relative_to("/"), file(name))


def install_and_start() -> str:
    """What the bootstrap calls: install this very archive and start the first run."""
    install_files()
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "try-restart", "systemd-journald.service"], check=False)
    run(["systemctl", "enable", *ENABLED])
    write_file(AGENT, Path(sys.argv[0]).read_bytes(), mode=0o755)
    run(["systemctl", "start", "--no-block", *STARTED])
    return "installed; see how far the node is with: vace-node status"
