"""Sets a fresh machine up: Debian packages and the Python environment in `.venv`.

    python3 rehearsal/toolchain/bootstrap.py             both
    python3 rehearsal/toolchain/bootstrap.py packages    only the Debian packages that are missing
    python3 rehearsal/toolchain/bootstrap.py venv        only .venv, from requirements.lock

Both are done in well under a second when nothing is missing, and can be interrupted at any time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

if __package__ in (None, ""):
    # Started as a file: make the package importable without installing anything.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from rehearsal.toolchain import pins
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import CommandError, ToolchainError
from rehearsal.toolchain.progress import Progress
from rehearsal.toolchain.store import Store, cache_root

OLDEST_PYTHON = (3, 11)
PACKAGE_LIST = pins.TOOLCHAIN / "packages.txt"
OWN_SERVICES = ("docker-registry", "containerd")
"""Packages whose service rehearsals start themselves, with settings of their own."""
PROGRAMS = (
    *("podman", "buildah", "runc", "mmdebstrap", "docker-registry", "ip", "nft"),
    *("containerd", "iptables"),
)
"""What the packages bring, to look for where no dpkg knows what is installed."""
POLICY = Path("/usr/sbin/policy-rc.d")
IMPORTABLE = (".", "images/comfyui", "images/gateway", "images/weights")
"""Folders of this repository that hold packages, as seen from its root."""


def listed_packages(text: str) -> dict[str, str]:
    """Package names with the reason for each, from the text of packages.txt."""
    found = {}
    for line in text.splitlines():
        name, _, reason = line.partition("#")
        if name.strip():
            found[name.strip()] = reason.strip()
    return found


def missing_packages(wanted: Iterable[str], status: str) -> list[str]:
    """Those of `wanted` that are not installed, given `dpkg-query`'s "name status" lines."""
    installed = {
        line.split()[0].partition(":")[0]
        for line in status.splitlines()
        if line.endswith(" installed")
    }
    return [name for name in wanted if name not in installed]


def install_packages(progress: Progress) -> None:
    """Installs what packages.txt lists and is missing; ToolchainError says what to do by hand."""
    wanted = listed_packages(PACKAGE_LIST.read_text())
    if sys.prefix == sys.base_prefix and not _can_make_venv():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        wanted[f"python{version}-venv"] = "Debian ships Python without the module that makes .venv"
    if not shutil.which("dpkg-query") or not shutil.which("apt-get"):
        absent = [program for program in PROGRAMS if shutil.which(program) is None]
        if absent:
            raise ToolchainError(
                "this machine has no apt-get, and these programs are missing: "
                f"{', '.join(absent)}. Rehearsals are made for Debian; install what "
                f"{PACKAGE_LIST.name} lists with your package manager, then try again"
            )
        return
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${Status}\n", *wanted],
        capture_output=True,
        text=True,
        check=False,  # status 1 means that some are unknown, which is the answer
    )
    missing = missing_packages(wanted, asked.stdout)
    if not missing:
        return
    progress.say("installing Debian packages:")
    for name in missing:
        progress.say(f"  {name}: {wanted[name]}")
    become_root = _become_root(missing)
    # As arguments of `env`, since sudo passes no environment on.
    apt = [*become_root, "env", "DEBIAN_FRONTEND=noninteractive"]
    apt += ["apt-get", "--option", "DPkg::Lock::Timeout=120"]
    with progress.step("installing packages", typical=pins.TYPICAL_SECONDS["packages"]):
        _as_root([*apt, "update"])
        with _services_not_started(become_root):
            _as_root([*apt, "install", "--yes", "--no-install-recommends", *missing])
    services = [name for name in OWN_SERVICES if name in missing]
    if services and Path("/run/systemd/system").is_dir():
        # The packages' own would run for ever, on a port that others may want. What somebody had
        # before is not touched.
        _as_root([*become_root, "systemctl", "disable", "--now", *services])


def _as_root(command: Sequence[str]) -> None:
    """Runs in this terminal's session, where sudo remembers the password that was given."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise CommandError(command, done.returncode, done.stdout)


@contextlib.contextmanager
def _services_not_started(become_root: Sequence[str]) -> Iterator[None]:
    """Keeps packages from starting their services while they are installed (policy-rc.d)."""
    if POLICY.exists():
        yield
        return
    script = 'printf \'#!/bin/sh\\nexit 101\\n\' > "$1" && chmod 755 "$1"'
    _as_root([*become_root, "sh", "-c", script, "sh", str(POLICY)])
    try:
        yield
    finally:
        _as_root([*become_root, "rm", "-f", str(POLICY)])


def _become_root(missing: Sequence[str]) -> list[str]:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        raise ToolchainError(
            f"packages are missing and neither root nor sudo is at hand; ask an administrator for: "
            f"apt-get install --no-install-recommends {' '.join(missing)}"
        )
    # Asks for the password now, before the progress line would write over the question.
    subprocess.run(["sudo", "--validate"], check=False)
    return ["sudo"]


def _can_make_venv() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415  # only a fresh machine asks

    return find_spec("ensurepip") is not None


def normal_name(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_names(lock: str) -> set[str]:
    """The names of all distributions in the text of requirements.lock."""
    return {normal_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}


def no_longer_locked(stamp: Mapping[str, object], lock: str) -> list[str]:
    """What an earlier lock brought and this one does not want any more."""
    before = stamp.get("packages")
    return sorted(set(map(str, before)) - locked_names(lock)) if isinstance(before, list) else []


def make_environment(
    commands: Commands, progress: Progress, repository: Path, *, store: Store
) -> None:
    """Makes `.venv` what requirements.lock says; nothing else is ever installed into it by us.

    The stamp is removed first and written last, so an interrupted run is finished by the next one.
    """
    lock_file = repository / "requirements.lock"
    lock = lock_file.read_text()
    environment = repository / ".venv"
    python = environment / "bin" / "python"
    stamp_file = environment / "setup.json"
    key = hashlib.sha256(f"{lock}\0{sys.version}\0{repository}\0{IMPORTABLE}".encode()).hexdigest()

    def stamp() -> dict[str, object]:
        try:
            content = json.loads(stamp_file.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    if stamp().get("key") == key and python.exists():
        return
    name = "venv-" + hashlib.sha256(str(repository).encode()).hexdigest()[:16]
    with store.lock(name, progress.say):
        if stamp().get("key") == key and python.exists():
            return
        obsolete = no_longer_locked(stamp(), lock)
        stamp_file.unlink(missing_ok=True)
        typical = store.seconds("venv", pins.TYPICAL_SECONDS["venv"])
        with progress.step("installing Python packages into .venv", typical=typical):
            started = progress.clock()
            if not _usable(python):
                commands.run([sys.executable, "-m", "venv", "--clear", str(environment)])
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
            commands.run([*pip, "install", "--require-hashes", "--quiet", "-r", str(lock_file)])
            if obsolete:
                commands.run([*pip, "uninstall", "--yes", "--quiet", *obsolete])
            _make_importable(commands, python, repository)
            seconds = progress.clock() - started
        stamp_file.write_text(json.dumps({"key": key, "packages": sorted(locked_names(lock))}))
    store.record_seconds("venv", seconds, pins.TYPICAL_SECONDS["venv"])
    progress.say(f".venv: installed from requirements.lock in {seconds:.0f} s")


def _usable(python: Path) -> bool:
    """Whether this is an environment of the running Python version, with pip."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    check = f"import sys, pip; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    try:
        done = subprocess.run([python, "-c", check], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _make_importable(commands: Commands, python: Path, repository: Path) -> None:
    """Puts the repository's packages on the environment's path.

    An editable install would do the same through a build backend, which hashes cannot pin.
    """
    folder = commands.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    ).strip()
    paths = "".join(f"{(repository / part).resolve()}\n" for part in IMPORTABLE)
    (Path(folder) / "wan-vace.pth").write_text(paths)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="bootstrap.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=("all", "packages", "venv"), default="all")
    what = parser.parse_args(argv).what
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        print(
            f"error: this is Python {found}; 3.11 or newer is needed. Name one with "
            "`make PYTHON=/path/to/python3.11 ...`",
            file=sys.stderr,
        )
        return 1
    commands = Commands()
    try:
        with Progress(sys.stderr, live=sys.stderr.isatty()) as progress:
            if what in ("all", "packages"):
                install_packages(progress)
            if what in ("all", "venv"):
                store = Store(cache_root())
                make_environment(commands, progress, pins.REPOSITORY, store=store)
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        commands.stop()
        print("stopped; run it again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
