"""The Python language host of the Pulumi engine: starts programs and plugins written in Python.

The engine starts it as `pulumi-language-python ADDRESS`, reads a port number from the first line of
its output and then talks gRPC to it (pulumi/language.proto). A program's own output goes straight
through: the engine reads this process's two streams and shows them as the program's.

A host outlives neither its engine nor a request to stop: what it started ends with it.
"""

# ruff: noqa: N802 -- the names are those of the protocol.

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import IO

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

EXECUTOR = "pulumi-language-python-exec"
BAILED = 32
"""The executor's exit status for "the user has already been told what is wrong"."""
PARENT_POLL_SECONDS = 0.5
STOP_SECONDS = 2.0
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

# Run by the program's interpreter, which need not be this one. A package that needs a plugin says
# so in its pulumi-plugin.json; the engine then knows before the program starts what is missing.
LIST_PLUGINS = """
import importlib.metadata, json
found = []
for distribution in importlib.metadata.distributions():
    for file in distribution.files or ():
        if file.name == "pulumi-plugin.json" and len(file.parts) == 2:
            plugin = json.loads(file.locate().read_text())
            if plugin.get("resource"):
                plugin.setdefault("name", file.parts[0].removeprefix("pulumi_").replace("_", "-"))
                plugin.setdefault("version", distribution.version)
                found.append(plugin)
print(json.dumps(found))
"""
LIST_PACKAGES = """
import importlib.metadata, json, re
found = {d.metadata["Name"]: d for d in importlib.metadata.distributions()}
normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()
required = {normal(re.match(r"[\\w.-]+", r)[0]) for d in found.values() for r in d.requires or ()}
print(json.dumps([[n, d.version, normal(n) in required] for n, d in sorted(found.items())]))
"""


class Children:
    """The processes that this host started."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    @contextlib.contextmanager
    def running(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        with self._guard:
            self._running.add(process)
        try:
            yield
        finally:
            with self._guard:
                self._running.discard(process)

    def stop(self) -> None:
        """Asks all to end, and ends those that do not within two seconds."""
        with self._guard:
            running = list(self._running)
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def interpreter(info: language_pb2.ProgramInfo) -> Path:
    """The Python of the `virtualenv` option in Pulumi.yaml, or the one that runs this host.

    Raises ValueError if the option names something that is no virtual environment.
    """
    configured = dict(info.options).get("virtualenv")
    if not configured:
        return Path(os.environ.get("PULUMI_PYTHON_CMD") or sys.executable)
    python = Path(info.root_directory) / str(configured) / "bin" / "python"
    if not python.exists():
        raise ValueError(
            f"the 'virtualenv' option in Pulumi.yaml is {configured!r}, but there is no {python}; "
            "create the environment with `make setup`, or correct the option"
        )
    return python


def activated(python: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` as if the virtual environment of `python` had been activated."""
    changed = dict(environ)
    if (python.parent.parent / "pyvenv.cfg").exists():
        changed["VIRTUAL_ENV"] = str(python.parent.parent)
        changed["PATH"] = os.pathsep.join([str(python.parent), environ.get("PATH", os.defpath)])
        changed.pop("PYTHONHOME", None)
    return changed


def executor() -> Path:
    """The script that runs a program: beside this host's launcher, else on PATH."""
    beside = Path(__file__).resolve().parent / "bin" / EXECUTOR
    if beside.exists():
        return beside
    found = shutil.which(EXECUTOR)
    if found is None:
        raise ValueError(f"{EXECUTOR} is neither beside the language host nor on PATH")
    return Path(found)


def asked(python: Path, question: str) -> list[object]:
    """What the program's interpreter prints as JSON for a piece of code."""
    answer = subprocess.run(
        [python, "-I", "-c", question], capture_output=True, check=True, timeout=60
    )
    return list(json.loads(answer.stdout))


def end_with_call(context: grpc.ServicerContext, process: subprocess.Popen[bytes]) -> None:
    """Ends the process when the engine gives the call up, which it may have done already."""
    if not context.add_callback(process.terminate):
        process.terminate()


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """Answers the engine; errors in its words, because a user reads them under its name."""

    def __init__(self, engine: str, children: Children) -> None:
        self.engine = engine
        self.children = children

    def Handshake(
        self,
        request: language_pb2.LanguageHandshakeRequest,
        context: grpc.ServicerContext,
    ) -> language_pb2.LanguageHandshakeResponse:
        self.engine = request.engine_address or self.engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        from importlib.metadata import version  # noqa: PLC0415  # keeps start-up short

        return plugin_pb2.PluginInfo(version=version("pulumi"))

    def GetRequiredPlugins(
        self,
        request: language_pb2.GetRequiredPluginsRequest,
        context: grpc.ServicerContext,
    ) -> language_pb2.GetRequiredPluginsResponse:
        return language_pb2.GetRequiredPluginsResponse(
            plugins=[
                plugin_pb2.PluginDependency(
                    kind="resource", name=name, version=version, server=server
                )
                for name, version, server in self._plugins(request.info, context)
            ]
        )

    def GetRequiredPackages(
        self,
        request: language_pb2.GetRequiredPackagesRequest,
        context: grpc.ServicerContext,
    ) -> language_pb2.GetRequiredPackagesResponse:
        return language_pb2.GetRequiredPackagesResponse(
            packages=[
                plugin_pb2.PackageDependency(
                    kind="resource", name=name, version=version, server=server
                )
                for name, version, server in self._plugins(request.info, context)
            ]
        )

    def _plugins(
        self, info: language_pb2.ProgramInfo, context: grpc.ServicerContext
    ) -> list[tuple[str, str, str]]:
        """Name, version and download server of each plugin that installed packages ask for."""
        return [
            (
                str(plugin["name"]),
                f"v{str(plugin['version']).removeprefix('v')}",
                str(plugin.get("server") or ""),
            )
            for plugin in self._ask(info, LIST_PLUGINS, context)
            if isinstance(plugin, dict)
        ]

    def _ask(
        self, info: language_pb2.ProgramInfo, question: str, context: grpc.ServicerContext
    ) -> list[object]:
        try:
            return asked(interpreter(info), question)
        except (ValueError, OSError, subprocess.SubprocessError) as error:
            detail = getattr(error, "stderr", b"") or b""
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, f"{error} {detail.decode(errors='replace')}"
            )
            raise  # abort raises; this line tells the type checker

    def Run(
        self, request: language_pb2.RunRequest, context: grpc.ServicerContext
    ) -> language_pb2.RunResponse:
        try:
            status = self._run(request, context)
        except (ValueError, OSError) as error:
            return language_pb2.RunResponse(error=str(error))
        if status == BAILED:
            return language_pb2.RunResponse(bail=True)
        if status < 0:
            ended_by = signal.Signals(-status).name
            return language_pb2.RunResponse(error=f"Program was ended by {ended_by}")
        if status:
            return language_pb2.RunResponse(
                error=f"Program exited with non-zero exit code: {status}"
            )
        return language_pb2.RunResponse()

    def _run(self, request: language_pb2.RunRequest, context: grpc.ServicerContext) -> int:
        """Runs the program to its end and returns its status, negative for a signal."""
        if request.attach_debugger:
            raise ValueError(
                "this language host cannot attach a debugger; install Pulumi's own release "
                "for `--attach-debugger`"
            )
        python = interpreter(request.info)
        command = [str(python), "-u", str(executor()), *program_arguments(request, self.engine)]
        environ = activated(python, os.environ)
        # Not as arguments: anyone may read those, and configuration holds secrets.
        environ["PULUMI_CONFIG"] = json.dumps(dict(request.config))
        environ["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(list(request.configSecretKeys))
        process = subprocess.Popen(
            command, cwd=request.pwd or None, env=environ, stdin=subprocess.DEVNULL
        )
        with self.children.running(process):
            end_with_call(context, process)
            return process.wait()

    def RunPlugin(
        self, request: language_pb2.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.RunPluginResponse]:
        try:
            python = interpreter(request.info)
        except ValueError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            return
        given = dict(entry.partition("=")[::2] for entry in request.env) or dict(os.environ)
        program = Path(request.info.program_directory) / (request.info.entry_point or ".")
        for name, content, status in self._streamed(
            [str(python), "-u", str(program), *request.args],
            Path(request.pwd),
            activated(python, given),
            context,
        ):
            if name == "stdout":
                yield language_pb2.RunPluginResponse(stdout=content)
            elif name == "stderr":
                yield language_pb2.RunPluginResponse(stderr=content)
            else:
                yield language_pb2.RunPluginResponse(exitcode=status)

    def InstallDependencies(
        self, request: language_pb2.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.InstallDependenciesResponse]:
        """Creates the configured virtual environment if needed and installs requirements.txt."""
        folder = Path(request.info.program_directory or request.directory)
        configured = dict(request.info.options).get("virtualenv")
        python = Path(sys.executable)
        commands: list[list[str]] = []
        if configured:
            environment = Path(request.info.root_directory) / str(configured)
            python = environment / "bin" / "python"
            if not python.exists():
                commands.append([sys.executable, "-m", "venv", str(environment)])
        if (folder / "requirements.txt").exists():
            commands.append([str(python), "-m", "pip", "install", "-r", "requirements.txt"])
        for command in commands:
            for name, content, status in self._streamed(
                command, folder, activated(python, os.environ), context
            ):
                if name == "stdout":
                    yield language_pb2.InstallDependenciesResponse(stdout=content)
                elif name == "stderr":
                    yield language_pb2.InstallDependenciesResponse(stderr=content)
                elif status:
                    context.abort(
                        grpc.StatusCode.INTERNAL,
                        f"`{' '.join(command)}` ended with status {status}",
                    )

    def _streamed(
        self,
        command: Sequence[str],
        folder: Path,
        environ: Mapping[str, str],
        context: grpc.ServicerContext,
    ) -> Iterator[tuple[str, bytes, int]]:
        """Yields ("stdout" or "stderr", content, 0) as it comes, and last ("exit", b"", status)."""
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output: queue.Queue[tuple[str, bytes]] = queue.Queue()

        def pump(stream: IO[bytes], name: str) -> None:
            while content := os.read(stream.fileno(), 65536):
                output.put((name, content))
            output.put((name, b""))

        if process.stdout is None or process.stderr is None:
            raise RuntimeError("a process was started without the pipes that were asked for")
        with self.children.running(process), process.stdout, process.stderr:
            end_with_call(context, process)
            for stream, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
                threading.Thread(target=pump, args=(stream, name), daemon=True).start()
            open_streams = 2
            while open_streams:
                name, content = output.get()
                if content:
                    yield name, content, 0
                else:
                    open_streams -= 1
            yield "exit", b"", process.wait()

    def About(
        self, request: language_pb2.AboutRequest, context: grpc.ServicerContext
    ) -> language_pb2.AboutResponse:
        return language_pb2.AboutResponse(
            executable=sys.executable, version=platform.python_version()
        )

    def GetProgramDependencies(
        self,
        request: language_pb2.GetProgramDependenciesRequest,
        context: grpc.ServicerContext,
    ) -> language_pb2.GetProgramDependenciesResponse:
        found = []
        for package in self._ask(request.info, LIST_PACKAGES, context):
            if not isinstance(package, list):
                continue
            name, version, required_by_another = package
            if request.transitiveDependencies or not required_by_another:
                found.append(language_pb2.DependencyInfo(name=name, version=version))
        return language_pb2.GetProgramDependenciesResponse(dependencies=found)

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.children.stop()
        return empty_pb2.Empty()


def program_arguments(request: language_pb2.RunRequest, engine: str) -> list[str]:
    """The executor's command line for a program."""
    info = request.info
    folder = info.program_directory or request.pwd
    entry = info.entry_point or request.program or "."
    program = folder if entry == "." else str(Path(folder) / entry)
    options = {
        "monitor": request.monitor_address,
        "engine": engine,
        "project": request.project,
        "root_directory": info.root_directory,
        "pwd": request.pwd,
        "dry_run": str(request.dryRun).lower(),
        "parallel": str(request.parallel),
        "stack": request.stack,
        "organization": request.organization,
    }
    arguments = [part for name, value in options.items() if value for part in (f"--{name}", value)]
    return [*arguments, program, *request.args]


def exit_with_parent(parent: int, children: Children) -> None:
    """Ends this process once the engine is gone: a killed engine sends no signal."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    children.stop()
    os._exit(0)


def main() -> None:
    """Serves until a signal or the end of the engine."""
    parent = os.getppid()
    children = Children()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    engine = sys.argv[-1] if len(sys.argv) > 1 else ""
    server = grpc.server(futures.ThreadPoolExecutor(16), options=UNLIMITED)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(Host(engine, children), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    threading.Thread(target=exit_with_parent, args=(parent, children), daemon=True).start()
    stopped.wait()
    children.stop()
    # Not sys.exit: the interpreter would wait for calls that no engine waits for any more.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
