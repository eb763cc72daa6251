"""In which order the ways to have a tool are tried, and what is said about it."""

import io
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rehearsal.toolchain import download, pins, tools
from rehearsal.toolchain.commands import Commands
from rehearsal.toolchain.errors import CommandError, DownloadError, StoppedError, ToolchainError
from rehearsal.toolchain.progress import Progress
from rehearsal.toolchain.result import Toolchain
from rehearsal.toolchain.store import Store
from rehearsal.toolchain.tools import ORIGINS, PLUGIN, Provisioner

from .fakes import Workshop, release, served

CLOSED = "http://127.0.0.1:1"
"""Nothing listens there, as in a network without a way out."""


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    made = Workshop(tmp_path / "workshop")
    monkeypatch.setenv("PATH", made.search_path())
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def provisioner(tmp_path: Path) -> Provisioner:
    return Provisioner(
        store=Store(tmp_path / "cache"),
        commands=Commands(),
        progress=Progress(io.StringIO(), live=False),
        origins=ORIGINS,
        python=Path(sys.executable),
        pulumi_releases=f"{CLOSED}/sdk",
        plugin_releases=f"{CLOSED}/plugins",
        cpus=2,
    )


@pytest.fixture
def releases(workshop: Workshop) -> Iterator[str]:
    with served(release(workshop)) as address:
        yield address


def said(provisioner: Provisioner) -> str:
    stream = provisioner.progress.stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def online(provisioner: Provisioner, address: str) -> Provisioner:
    return replace(
        provisioner, pulumi_releases=f"{address}/sdk", plugin_releases=f"{address}/plugins"
    )


def test_tools_on_path_are_taken_as_they_are(
    workshop: Workshop, provisioner: Provisioner, releases: str
) -> None:
    """Prevents a build of eight minutes for somebody who has everything."""
    workshop.add_go()
    workshop.add_pulumi()
    workshop.add_plugin()
    tools = online(provisioner, releases).provide("plain")
    assert tools.origin == {"pulumi": "path", "alicloud": "path", "python-host": "own"}
    assert tools.pulumi.samefile(workshop.path / "pulumi")
    assert (tools.pulumi.parent / "pulumi-language-python").is_file()
    assert workshop.calls("go build") == []


def test_another_version_on_path_is_named_and_not_used(
    workshop: Workshop, provisioner: Provisioner
) -> None:
    """Prevents an engine that the SDK or the provider does not fit."""
    workshop.add_go()
    workshop.add_pulumi("3.9.1")
    workshop.add_plugin("3.78.0")
    tools = provisioner.provide("plain")
    assert tools.origin["pulumi"] == tools.origin["alicloud"] == "build"
    assert "pulumi 3.9.1 on PATH is not used" in said(provisioner)
    assert f"{PLUGIN} 3.78.0 on PATH is not used" in said(provisioner)


def test_a_release_is_downloaded_rather_than_built(
    workshop: Workshop, provisioner: Provisioner, releases: str
) -> None:
    """Prevents building where an ordinary network would have served in seconds."""
    workshop.add_go()
    tools = online(provisioner, releases).provide("plain")
    assert tools.origin == {
        "pulumi": "download",
        "alicloud": "download",
        "python-host": "with the engine",
    }
    assert (tools.pulumi.parent / "pulumi-language-python").is_file()
    assert not list(provisioner.store.root.rglob("escaped"))
    assert not list(provisioner.store.root.rglob("deep"))
    assert workshop.calls("go build") == []
    assert "pulumi: downloaded from Pulumi in 0 s" in said(provisioner)


def test_a_release_with_another_checksum_is_not_used(
    workshop: Workshop, provisioner: Provisioner
) -> None:
    """Prevents running what a broken or hostile mirror sent."""
    workshop.add_go()
    files = release(workshop)
    archive = next(path for path in files if path.startswith("/sdk/pulumi-v"))
    files[archive] += b"more"
    with served(files) as address:
        tools = online(provisioner, address).provide("plain")
    assert tools.origin["pulumi"] == "build"
    assert not list(provisioner.store.root.glob("pulumi-release-*"))


def test_without_a_way_out_everything_is_built_and_said(
    workshop: Workshop, provisioner: Provisioner
) -> None:
    """Prevents a silent choice: a reader must know which of the three happened."""
    workshop.add_go()
    tools = provisioner.provide("plain")
    assert tools.origin == {"pulumi": "build", "alicloud": "build", "python-host": "own"}
    assert "pulumi: built from Go modules in 0 s\n" in said(provisioner)
    assert "alicloud: built from Go modules in 0 s\n" in said(provisioner)
    plugin = f"plugins/resource-alicloud-v{pins.ALICLOUD_VERSION}/{PLUGIN}"
    assert (tools.pulumi_home / plugin).samefile(tools.alicloud_plugin)
    assert not (tools.pulumi_home / "logs").exists()


def test_a_second_run_builds_nothing_and_says_nothing(
    workshop: Workshop, provisioner: Provisioner
) -> None:
    """Prevents a toolchain that costs time at every start."""
    workshop.add_go()
    first = provisioner.provide("plain")
    workshop.log.write_text("")
    quiet = replace(provisioner, progress=Progress(io.StringIO(), live=False))
    assert quiet.provide("plain") == first
    assert said(quiet) == ""
    assert set(workshop.calls()) == {"go env GOVERSION"}


def test_a_build_that_fails_names_every_way_that_was_tried(
    workshop: Workshop, provisioner: Provisioner
) -> None:
    """Prevents "go: exit status 1" as the only thing that a user gets to see."""
    workshop.add_go(build="echo 'module example/x: 403 Forbidden'; exit 1")
    with pytest.raises(ToolchainError) as caught:
        provisioner.provide("plain")
    message = str(caught.value)
    assert "pulumi can be had in none of the allowed ways" in message
    assert "download: http://127.0.0.1:1/sdk" in message
    assert "403 Forbidden" in message
    assert "go env GOPROXY" in message
    assert not list(provisioner.store.root.glob("*.partial"))


@pytest.mark.parametrize("version", [None, "go1.19.8"])
def test_go_that_is_missing_or_too_old_is_asked_for_by_version(
    workshop: Workshop, provisioner: Provisioner, version: str | None
) -> None:
    """Prevents a compile error deep inside a module instead of one clear sentence."""
    if version:
        workshop.add_go(version=version)
    with pytest.raises(ToolchainError, match=r"Go 1\.26 or newer is needed.*https://go\.dev/dl/"):
        provisioner.provide("plain")


def test_the_fast_variant_is_always_built(
    workshop: Workshop, provisioner: Provisioner, releases: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a test suite from running on a provider that ignores the time scale."""
    workshop.add_go()
    workshop.add_plugin()
    monkeypatch.setattr(
        "rehearsal.toolchain.gobuild._with_fast_waits", lambda *_: Path("scaled.mod")
    )
    tools = online(provisioner, releases).provide("fast")
    assert tools.origin["alicloud"] == "build"
    assert [call for call in workshop.calls("go build") if "-modfile=scaled.mod" in call]


def test_each_rehearsal_gets_a_home_of_its_own_without_another_copy(
    workshop: Workshop, provisioner: Provisioner, tmp_path: Path
) -> None:
    """Prevents 300 MB for every rehearsal, and state shared through one home."""
    workshop.add_go()
    tools: Toolchain = provisioner.provide("plain")
    home = tools.make_home(tmp_path / "home")
    assert tools.make_home(home) == home
    folder = home / "plugins" / f"resource-alicloud-v{pins.ALICLOUD_VERSION}"
    assert not folder.is_symlink(), "the engine overlooks plugin folders that are links"
    assert (folder / PLUGIN).samefile(tools.alicloud_plugin)
    environment = tools.environment(home, {"PATH": "/bin", "PULUMI_HOME": "/root/.pulumi"})
    assert environment["PULUMI_HOME"] == str(home)
    assert environment["PATH"].split(":")[0] == str(tools.path_prepend[0])


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package in place of the real stand-in, which has tests of its own."""
    package = tmp_path / "packages" / "sample_stand_in"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "def install(target, python):\n"
        "    program = target / 'pulumi-resource-kubernetes'\n"
        "    program.write_text(f'#!{python}')\n"
        "    program.chmod(0o755)\n"
        "    return program\n"
    )
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(tools, "STAND_IN", "sample_stand_in")
    monkeypatch.delitem(sys.modules, "sample_stand_in", raising=False)


@pytest.mark.usefixtures("stand_in")
def test_without_a_way_out_a_stand_in_serves_helm_releases_and_is_said(
    workshop: Workshop, provisioner: Provisioner
) -> None:
    """Prevents an engine that waits for a download, and a stand-in that nobody knows of."""
    workshop.add_go()
    plain = provisioner.provide("plain")
    made = provisioner.provide("plain", kubernetes=True)
    assert "kubernetes" not in plain.origin
    assert made.origin["kubernetes"] == "stand-in"
    assert "kubernetes provider: this repository's stand-in (download: " in said(provisioner)
    folder = f"plugins/resource-kubernetes-v{pins.KUBERNETES_PLUGIN_VERSION}"
    program = made.pulumi_home / folder / "pulumi-resource-kubernetes"
    assert program.read_text() == f"#!{sys.executable}"
    assert (made.pulumi_home / f"plugins/resource-alicloud-v{pins.ALICLOUD_VERSION}").is_dir()
    assert not (plain.pulumi_home / folder).exists(), "the base home stays as it was"
    quiet = replace(provisioner, progress=Progress(io.StringIO(), live=False))
    assert quiet.provide("plain", kubernetes=True) == made
    assert said(quiet) == ""


@pytest.mark.usefixtures("stand_in")
def test_pulumis_own_kubernetes_provider_is_downloaded_where_that_works(
    workshop: Workshop, provisioner: Provisioner, releases: str
) -> None:
    """Prevents a stand-in where the real provider could have been rehearsed with."""
    workshop.add_go()
    made = online(provisioner, releases).provide("plain", kubernetes=True)
    assert made.origin["kubernetes"] == "download"
    assert "kubernetes: downloaded from Pulumi in 0 s" in said(provisioner)
    folder = made.pulumi_home / f"plugins/resource-kubernetes-v{pins.KUBERNETES_PLUGIN_VERSION}"
    assert (folder / "pulumi-resource-kubernetes").read_text() == "downloaded\n"


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("script", "origin", "message"),
    [
        (f'echo \'{{"version": "{pins.KUBERNETES_PLUGIN_VERSION}"}}\'', "path", ""),
        ('echo \'{"version": "4.1.0"}\'', "stand-in", "kubernetes 4.1.0 on PATH is not used"),
        ("echo broken; exit 1", "stand-in", "kubernetes on PATH is not used"),
    ],
)
def test_a_kubernetes_provider_on_path_is_taken_only_in_the_right_version(
    workshop: Workshop, provisioner: Provisioner, script: str, origin: str, message: str
) -> None:
    """Prevents a provider that the SDK does not fit, and a silent choice."""
    workshop.add_go()
    workshop.add("pulumi-resource-kubernetes", script)
    assert provisioner.provide("plain", kubernetes=True).origin["kubernetes"] == origin
    assert message in said(provisioner)


def test_a_checkout_without_the_stand_in_is_told_what_is_missing(
    workshop: Workshop, provisioner: Provisioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a traceback about imports as the last thing that a long run says."""
    workshop.add_go()
    monkeypatch.setattr(tools, "STAND_IN", "absent_stand_in")
    with pytest.raises(ToolchainError, match=r"absent_stand_in is not in this checkout.*restore"):
        provisioner.provide("plain", kubernetes=True)


def test_a_network_that_swallows_packets_is_given_up_after_the_deadline() -> None:
    """Prevents minutes of waiting behind a firewall that never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        started = time.monotonic()
        with pytest.raises(DownloadError, match=r"no answer within 0 s|timed out"):
            download.read(address, deadline=0.2)
        assert download.reachable(address, deadline=0.2)
        assert time.monotonic() - started < 5


def test_only_web_addresses_are_downloaded() -> None:
    """Prevents a configured mirror from reading files of this machine."""
    with pytest.raises(DownloadError, match="over HTTP only"):
        download.read("file:///etc/passwd")


def test_a_checksum_that_is_not_published_stops_the_download() -> None:
    """Prevents an unchecked file from being used because a list was incomplete."""
    listing = "aa  pulumi-v1-linux-x64.tar.gz\nBB *pulumi-v1-linux-arm64.tar.gz\n"
    assert download.published_sum(listing, "pulumi-v1-linux-arm64.tar.gz") == "bb"
    with pytest.raises(DownloadError, match="do not name pulumi-v2"):
        download.published_sum(listing, "pulumi-v2-linux-x64.tar.gz")


def test_stopping_ends_what_was_started_with_its_children() -> None:
    """Prevents compilers that go on after Ctrl-C."""
    commands = Commands()
    raised: list[Exception] = []

    def work() -> None:
        try:
            commands.run(["sh", "-c", "sleep 300 & wait"])
        except ToolchainError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 10
    while not commands._running:
        assert time.monotonic() < deadline
    commands.stop()
    thread.join(10)
    assert not thread.is_alive(), "the output stays open while a child of the command lives"
    assert isinstance(raised[0], StoppedError)
    with pytest.raises(StoppedError):
        commands.run(["true"])


def test_a_command_that_fails_shows_its_last_lines() -> None:
    """Prevents both a bare exit status and a thousand lines of compiler output."""
    with pytest.raises(CommandError) as caught:
        Commands().run(["sh", "-c", "seq 1 100; exit 3"])
    assert caught.value.status == 3
    assert "status 3" in str(caught.value)
    assert "    100" in str(caught.value)
    assert "    85\n" not in str(caught.value)
