"""Debian packages: what an image adds to a minimal root, asked of apt inside such a root."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from images.errors import ResolveError, UnreachableError
from images.pins import IMAGES, DebianPin

_TIMEOUT_S = 900
_MARK = "@image "
# "Inst name [old] (new origin …" to name=new; the old version is there when it is an update.
_INSTALLED = r"s/^Inst \([^ ]*\) \(\[[^]]*\] \)\{0,1\}(\([^ ]*\) .*/\1=\3/p"
_OFFLINE = ("Could not resolve", "Could not connect", "Unable to connect", "Temporary failure")


def resolve(pin: DebianPin) -> dict[str, Any]:
    """Return the lock's ``debian`` part: every package beyond minbase, with its .deb's hash.

    The root comes from mmdebstrap with the suite, its updates and its security updates, which is
    what mmdebstrap takes by default; the mirror is the one that it is set up for.

    Raises:
        ResolveError: a package does not exist, or the packages exclude each other.
        UnreachableError: mmdebstrap is not installed, or no mirror can be reached.
    """
    if shutil.which("mmdebstrap") is None:
        raise UnreachableError(
            "mmdebstrap is not installed, and Debian packages are resolved inside a root that it "
            "makes. Install it: apt-get install --no-install-recommends mmdebstrap"
        )
    with tempfile.TemporaryDirectory(prefix="resolve-") as folder:
        answer = Path(folder, "answer")
        hook = f'chroot "$1" sh -ec {shlex.quote(script(pin))} > {shlex.quote(str(answer))}'
        command = [
            *("mmdebstrap", "--variant=minbase", f"--architectures={pin.architecture}"),
            *("--format=null", f"--customize-hook={hook}", pin.suite, "-"),
        ]
        finished = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
        if finished.returncode:
            raise _failure(finished.stderr)
        return parse(pin, answer.read_text(encoding="utf-8"))


def script(pin: DebianPin) -> str:
    """Return the shell script that asks apt; it runs as root inside the minimal root."""
    lines = []
    for image in IMAGES:
        names = [each.name for each in pin.packages if image in each.images]
        lines += [
            f"echo '{_MARK}{image}'",
            f"apt-get -s install --no-install-recommends {' '.join(names)} > /tmp/plan",
            f"chosen=$(sed -n '{_INSTALLED}' /tmp/plan)",
            "apt-cache show --no-all-versions $chosen",
        ]
    return "\n".join(lines)


def _failure(text: str) -> ResolveError:
    said = text.strip()[-1500:]
    if any(word in text for word in _OFFLINE):
        return UnreachableError(f"no Debian mirror can be reached: {said}")
    return ResolveError(
        f"the Debian packages cannot be resolved: {said}\nThey are asked of apt in a minimal root "
        "of the suite that pins.toml names. Correct the package named above in pins.toml"
    )


def parse(pin: DebianPin, answer: str) -> dict[str, Any]:
    """Return the ``debian`` part from what the script printed."""
    rows: dict[str, dict[str, Any]] = {}
    image = ""
    for section in answer.split(_MARK)[1:]:
        image, _, stanzas = section.partition("\n")
        for stanza in stanzas.split("\n\n"):
            fields = HeaderParser().parsestr(stanza.strip())
            name = fields.get("Package")
            if name is None:
                continue
            row = rows.setdefault(name, _row(fields))
            if row["version"] != fields["Version"]:
                raise ResolveError(
                    f"{name} would be {row['version']} in one image and {fields['Version']} in "
                    f"{image}; the lock holds one. The mirror changed meanwhile: resolve again"
                )
            if image not in row["images"]:
                row["images"].append(image)
            row["requested"] = any(each.name == name for each in pin.packages)
    missing = [each.name for each in pin.packages if each.name not in rows]
    if missing:
        raise ResolveError(
            f"{', '.join(missing)} would not be installed, because the base has them already; "
            "pins.toml lists what is added to the base. Remove them there"
        )
    return {
        "suite": pin.suite,
        "architecture": pin.architecture,
        "packages": [rows[name] for name in sorted(rows)],
    }


def _row(fields: Message) -> dict[str, Any]:
    return {
        "name": fields["Package"],
        "version": fields["Version"],
        "sha256": fields["SHA256"],
        "size": int(fields["Size"]),
        "requested": False,
        "images": [],
    }
