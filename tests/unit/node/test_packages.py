"""Why a package manager failed, and what is done about it."""

from pathlib import Path

import pytest

from infra.node.vace_node import packages
from infra.node.vace_node.errors import PackageError
from infra.node.vace_node.packages import Packages, cause

NO_PACKAGE = "E: Unable to locate package linux-modules-nvidia-570-server-6.8.0-60-generic"
UNMET = """\
The following packages have unmet dependencies:
 linux-modules-nvidia-570-server-6.8.0-60-generic : Depends: nvidia-kernel-common-570-server \
(<= 570.133.20-1) but 570.195.03-0ubuntu0.24.04.1 is to be installed
E: Unable to correct problems, you have held broken packages.
"""
LISTS_LOCKED = """\
E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (apt-get)
E: Unable to lock directory /var/lib/apt/lists/
"""
DPKG_LOCKED = (
    "dpkg: error: dpkg frontend lock was locked by another process with pid 900\n"
    "Note: removing the lock file is always wrong, can damage the locked area\n"
)
OFFLINE = """\
Err:1 http://mirrors.cloud.aliyuncs.com/ubuntu noble InRelease
  Temporary failure resolving 'mirrors.cloud.aliyuncs.com'
E: Failed to fetch http://mirrors.cloud.aliyuncs.com/ubuntu/dists/noble/InRelease
"""


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (NO_PACKAGE, packages.LACKING),
        (UNMET, packages.LACKING),
        (LISTS_LOCKED, packages.LOCKED),
        (DPKG_LOCKED, packages.LOCKED),
        (OFFLINE, packages.UNREACHABLE),
        (OFFLINE + NO_PACKAGE, packages.UNREACHABLE),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", packages.OTHER),
    ],
)
def test_the_cause_is_read_out_of_apts_words(output: str, kind: str) -> None:
    """Only a missing package is a reason to build a driver for half an hour."""
    assert cause(output) == kind


class Apt:
    """apt-get and dpkg as scripts on PATH, which note how they were called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.setattr(packages.time, "sleep", lambda _: None)
        self.script("dpkg", "exit 0")

    def script(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\ncd {self.folder}\necho "{name} $*" >> calls\n{body}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    return Apt(tmp_path, monkeypatch)


def test_held_packages_are_no_obstacle_to_the_agent(apt: Apt) -> None:
    """An image or a person may hold the driver; the modules of a new kernel need another one."""
    apt.script("apt-get", "exit 0")
    Packages().install(["podman"])
    assert apt.calls[-1].endswith("--allow-change-held-packages podman")


def test_a_lock_is_waited_for(apt: Apt) -> None:
    """At a first boot, apt's own timer refreshes the lists at the same time."""
    apt.script(
        "apt-get", f"[ -e tried ] && exit 0; touch tried; cat <<'E' >&2\n{LISTS_LOCKED}E\nexit 100"
    )
    Packages().install(["podman"])
    assert [" update" in call for call in apt.calls] == [False, True, True, False]


def test_lists_that_could_not_be_fetched_do_not_prove_that_a_package_lacks(apt: Apt) -> None:
    """A network that is down for a minute must not have the driver built from its sources."""
    case = f"case \"$*\" in *update*) cat <<'E'\n{OFFLINE}E\n;; *) echo '{NO_PACKAGE}';; esac"
    apt.script("apt-get", f"{case}\nexit 100")
    installer = Packages()
    with pytest.raises(
        PackageError, match=r"mirrors cannot be reached.*100\.100\.2\.136"
    ) as caught:
        installer.install(["podman"])
    assert not caught.value.lacking
    apt.script("apt-get", f"case \"$*\" in *update*) exit 0;; esac\necho '{NO_PACKAGE}'; exit 100")
    with pytest.raises(PackageError, match="mirrors do not have them") as caught:
        installer.install(["podman"])
    assert caught.value.lacking
