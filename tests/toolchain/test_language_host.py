"""The language host answers the engine's calls, and never outlives it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

from rehearsal.toolchain import pins

EXECUTOR = """#!{python}
import json, os, sys, time
config = {{k: v for k, v in os.environ.items() if k.startswith("PULUMI_CONFIG")}}
with open(os.environ["RECORD"], "w") as file:
    json.dump({{"arguments": sys.argv[1:], "environment": config, "cwd": os.getcwd()}}, file)
print("from the program", flush=True)
behaviour = os.environ["BEHAVIOUR"]
if behaviour == "hang":
    time.sleep(300)
if behaviour == "killed":
    os.kill(os.getpid(), 9)
sys.exit(int(behaviour))
"""


@dataclass
class RunningHost:
    """A host process with a connection to it, as the engine has."""

    process: subprocess.Popen[str]
    stub: language_pb2_grpc.LanguageRuntimeStub
    folder: Path

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    def program(self, **options: str) -> language_pb2.ProgramInfo:
        info = language_pb2.ProgramInfo(
            root_directory=str(self.folder), program_directory=str(self.folder), entry_point="."
        )
        info.options.update(options)
        return info

    def run(self, **options: str) -> language_pb2.RunResponse:
        return self.stub.Run(
            language_pb2.RunRequest(
                project="sample",
                stack="test",
                pwd=str(self.folder),
                args=["extra"],
                config={"sample:token": "hidden"},
                configSecretKeys=["sample:token"],
                dryRun=True,
                parallel=4,
                monitor_address="127.0.0.1:1",
                organization="organization",
                info=self.program(**options),
            ),
            timeout=30,
        )


def eventually(condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@contextlib.contextmanager
def started(folder: Path, behaviour: str) -> Iterator[RunningHost]:
    """A host whose executor writes down how it is called and then behaves as told."""
    executor = folder / "bin" / "pulumi-language-python-exec"
    executor.parent.mkdir()
    executor.write_text(EXECUTOR.format(python=sys.executable))
    executor.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, str(pins.LANGUAGE_HOST), "127.0.0.1:9"],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PATH": f"{executor.parent}:{os.environ['PATH']}",
            "RECORD": str(folder / "record.json"),
            "BEHAVIOUR": behaviour,
        },
    )
    try:
        assert process.stdout
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield RunningHost(process, language_pb2_grpc.LanguageRuntimeStub(channel), folder)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningHost]:
    marker = request.node.get_closest_marker("parametrize")
    behaviour = request.getfixturevalue("behaviour") if marker else "0"
    with started(tmp_path, behaviour) as running:
        yield running


@pytest.mark.parametrize(
    ("behaviour", "error", "bail"),
    [
        ("0", "", False),
        ("32", "", True),
        ("3", "Program exited with non-zero exit code: 3", False),
        ("killed", "Program was ended by SIGKILL", False),
    ],
)
def test_how_a_program_ended_is_told_in_the_engines_terms(
    host: RunningHost, behaviour: str, error: str, bail: bool
) -> None:
    """Prevents a failed program from counting as a success, or its error from showing twice."""
    answer = host.run()
    assert (answer.error, answer.bail) == (error, bail)


def test_a_program_gets_its_arguments_and_no_secret_among_them(host: RunningHost) -> None:
    """Prevents configuration values from being visible in the process list."""
    host.stub.Handshake(
        language_pb2.LanguageHandshakeRequest(engine_address="127.0.0.1:2"), timeout=10
    )
    host.run()
    record = json.loads(host.record.read_text())
    assert record["cwd"] == str(host.folder)
    assert record["arguments"][-2:] == [str(host.folder), "extra"]
    given = dict(zip(record["arguments"][0:-2:2], record["arguments"][1:-2:2], strict=True))
    assert given == {
        "--monitor": "127.0.0.1:1",
        "--engine": "127.0.0.1:2",
        "--project": "sample",
        "--root_directory": str(host.folder),
        "--pwd": str(host.folder),
        "--dry_run": "true",
        "--parallel": "4",
        "--stack": "test",
        "--organization": "organization",
    }
    assert record["environment"] == {
        "PULUMI_CONFIG": '{"sample:token": "hidden"}',
        "PULUMI_CONFIG_SECRET_KEYS": '["sample:token"]',
    }


def test_the_output_of_a_program_passes_through(host: RunningHost) -> None:
    """Prevents a program whose messages nobody sees: the engine reads the host's own output."""
    host.run()
    assert host.process.stdout
    assert host.process.stdout.readline() == "from the program\n"


def test_a_missing_virtual_environment_is_named(host: RunningHost) -> None:
    """Prevents "No module named pulumi" from the wrong interpreter."""
    answer = host.run(virtualenv="absent")
    assert "'virtualenv' option in Pulumi.yaml is 'absent'" in answer.error
    assert "make setup" in answer.error


def test_the_virtual_environment_of_the_project_is_used(host: RunningHost) -> None:
    """Prevents a program from running with packages of another environment."""
    python = host.folder / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "used $0"\nexit 32\n')
    python.chmod(0o755)
    assert host.run(virtualenv="env").bail
    assert host.process.stdout
    assert host.process.stdout.readline() == f"used {python}\n"


def test_the_engine_learns_which_plugins_the_installed_packages_need(host: RunningHost) -> None:
    """Prevents a missing provider from being noticed only halfway through an update."""
    packages = host.stub.GetRequiredPackages(
        language_pb2.GetRequiredPackagesRequest(info=host.program()), timeout=30
    ).packages
    assert [(p.kind, p.name, p.version) for p in packages] == [
        ("resource", "alicloud", f"v{pins.ALICLOUD_VERSION}"),
        ("resource", "kubernetes", f"v{pins.KUBERNETES_PLUGIN_VERSION}"),
    ]
    plugins = host.stub.GetRequiredPlugins(
        language_pb2.GetRequiredPluginsRequest(info=host.program()), timeout=30
    ).plugins
    assert [p.name for p in plugins] == ["alicloud", "kubernetes"]


def test_about_and_dependencies_answer_like_pulumis_own_host(host: RunningHost) -> None:
    """Prevents `pulumi about` from failing."""
    about = host.stub.About(language_pb2.AboutRequest(), timeout=10)
    assert about.version == sys.version.split()[0]
    info = host.stub.GetPluginInfo(empty_pb2.Empty(), timeout=10)
    assert info.version == pins.PULUMI_VERSION
    everything, direct = (
        {
            d.name
            for d in host.stub.GetProgramDependencies(
                language_pb2.GetProgramDependenciesRequest(
                    info=host.program(), transitiveDependencies=transitive
                ),
                timeout=30,
            ).dependencies
        }
        for transitive in (True, False)
    )
    assert {"pulumi", "pulumi_alicloud"} <= {name.replace("-", "_") for name in everything}
    assert direct < everything


def test_a_plugin_written_in_python_is_run_with_its_output(host: RunningHost) -> None:
    """Prevents policy packs, which the engine starts this way, from failing silently."""
    (host.folder / "__main__.py").write_text(
        "import os, sys\nprint(sys.argv[1], os.environ['GIVEN'])\n"
        "print('problem', file=sys.stderr)\nsys.exit(4)\n"
    )
    answers = list(
        host.stub.RunPlugin(
            language_pb2.RunPluginRequest(
                pwd=str(host.folder), args=["one"], env=["GIVEN=two"], info=host.program()
            ),
            timeout=30,
        )
    )
    assert b"".join(a.stdout for a in answers) == b"one two\n"
    assert b"".join(a.stderr for a in answers) == b"problem\n"
    assert answers[-1].exitcode == 4


def test_dependencies_are_installed_only_where_a_project_lists_some(host: RunningHost) -> None:
    """Prevents `pulumi install` from touching an environment that `make setup` made."""
    request = language_pb2.InstallDependenciesRequest(
        directory=str(host.folder), info=host.program()
    )
    assert list(host.stub.InstallDependencies(request, timeout=30)) == []
    (host.folder / "requirements.txt").write_text("--invalid-option\n")
    with pytest.raises(grpc.RpcError, match="pip install -r"):
        list(host.stub.InstallDependencies(request, timeout=30))


@pytest.mark.parametrize("behaviour", ["hang"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program_and_then_the_host_at_once(
    host: RunningHost, behaviour: str, number: signal.Signals
) -> None:
    """Prevents five lost seconds after each failed update, and a program left behind."""
    # Kept in a variable: a call that nobody refers to is cancelled.
    call = host.stub.Run.future(language_pb2.RunRequest(pwd=str(host.folder), info=host.program()))
    eventually(host.record.exists, "the program did not start")
    assert not call.done()
    begin = time.monotonic()
    host.process.send_signal(number)
    assert host.process.wait(10) == 0
    assert time.monotonic() - begin < 3
    eventually(lambda: not with_environment("RECORD", str(host.record)), "the program goes on")


@pytest.mark.parametrize("behaviour", ["hang"])
def test_cancel_ends_the_program(host: RunningHost, behaviour: str) -> None:
    """Prevents `pulumi cancel` from waiting for a program that never ends."""
    running = host.stub.Run.future(
        language_pb2.RunRequest(pwd=str(host.folder), info=host.program())
    )
    eventually(host.record.exists, "the program did not start")
    host.stub.Cancel(empty_pb2.Empty(), timeout=10)
    assert running.result(timeout=10).error == "Program was ended by SIGTERM"


def test_a_host_whose_engine_was_killed_ends_by_itself(tmp_path: Path) -> None:
    """Prevents processes that pile up with every engine killed for lack of memory."""
    mark = str(tmp_path)
    engine = subprocess.Popen(
        # Not exec: the shell is the engine here, and the host its child.
        ["sh", "-c", f"'{sys.executable}' '{pins.LANGUAGE_HOST}' 127.0.0.1:9; true"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MARK": mark},
    )
    assert engine.stdout
    assert int(engine.stdout.readline()) > 0
    assert len(with_environment("MARK", mark)) == 2
    engine.kill()
    engine.wait()
    eventually(lambda: not with_environment("MARK", mark), "the host outlived its engine")


def with_environment(name: str, value: str) -> list[int]:
    """The processes that have this variable."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{name}={value}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found
