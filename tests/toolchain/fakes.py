"""Tiny programs with the command lines of Go and Pulumi, and a release server on this machine."""

import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rehearsal.toolchain import pins
from rehearsal.toolchain.download import architecture

PULUMI = """#!/bin/sh
echo "pulumi $*" >> "{log}"
case "$1 $2" in
"version ") echo "v{version}" ;;
"package get-schema") "$3" ;;
"plugin install")
    plugin="$PULUMI_HOME/plugins/resource-$4-v$5"
    mkdir -p "$plugin" "$PULUMI_HOME/logs"
    if [ "$6" = --file ]; then cp "$7" "$plugin/pulumi-resource-$4"
    else echo downloaded > "$plugin/pulumi-resource-$4"; fi ;;
*) exit 9 ;;
esac
"""
PLUGIN = """#!/bin/sh
echo "{version}"
"""
GO = """#!/bin/sh
echo "go $*" >> "{log}"
case "$1 $2" in
"env GOVERSION") echo "{version}" ;;
"mod download") ;;
"list -m") echo "{sdk}" ;;
build*)
    {build}
    while [ "$1" != -o ]; do shift; done
    mkdir -p "$(dirname "$2")"
    case "$2" in
    */pulumi) cp "{folder}/built-pulumi" "$2" ;;
    *) cp "{folder}/built-plugin" "$2" ;;
    esac ;;
*) exit 9 ;;
esac
"""


class Workshop:
    """A folder for PATH whose programs write down how they are called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "path"
        self.path.mkdir(parents=True)
        self.log = folder / "calls.log"
        self.log.touch()
        for name in (
            "python/cmd/pulumi-language-python-exec",
            "python/dist/pulumi-resource-pulumi-python",
        ):
            script = folder / "sdk" / name
            script.parent.mkdir(parents=True)
            script.write_text("#!/bin/sh\n")
        self._write(
            folder / "built-pulumi", PULUMI.format(log=self.log, version=pins.PULUMI_VERSION)
        )
        self._write(folder / "built-plugin", PLUGIN.format(version=pins.ALICLOUD_VERSION))

    def add_go(self, *, version: str = "go1.26.8", build: str = ":") -> None:
        self._write(
            self.path / "go",
            GO.format(
                log=self.log,
                folder=self.folder,
                sdk=self.folder / "sdk",
                version=version,
                build=build,
            ),
        )

    def add_pulumi(self, version: str = pins.PULUMI_VERSION) -> None:
        self._write(self.path / "pulumi", PULUMI.format(log=self.log, version=version))

    def add_plugin(self, version: str = pins.ALICLOUD_VERSION) -> None:
        self._write(self.path / "pulumi-resource-alicloud", PLUGIN.format(version=version))

    def add(self, name: str, script: str) -> None:
        """A program of this name whose shell script is given."""
        self._write(self.path / name, f"#!/bin/sh\n{script}\n")

    def isolated_path(self) -> str:
        """The programs here and the few that they use themselves, none of a cluster."""
        tools = self.folder / "tools"
        tools.mkdir()
        for name in ("sh", "cp", "mkdir", "dirname", "env"):
            (tools / name).symlink_to(f"/usr/bin/{name}")
        return os.pathsep.join([str(self.path), str(tools)])

    def search_path(self) -> str:
        """The programs here, then the system's, which has neither Go nor Pulumi."""
        return os.pathsep.join([str(self.path), "/usr/bin", "/bin"])

    def calls(self, start: str = "") -> list[str]:
        """How the programs were called so far."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(start)]

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


def release(workshop: Workshop) -> dict[str, bytes]:
    """The files of a Pulumi release and of the plugin, by their path on the server."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in (
            "pulumi/pulumi",
            "pulumi/pulumi-language-python",
            "../escaped",
            "pulumi/a/deep",
        ):
            data = (workshop.folder / "built-pulumi").read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    archive = f"pulumi-v{pins.PULUMI_VERSION}-linux-{architecture()}.tar.gz"
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    go_architecture = {"x64": "amd64", "arm64": "arm64"}[architecture()]
    return {
        f"/sdk/{archive}": content.getvalue(),
        f"/sdk/pulumi-{pins.PULUMI_VERSION}-checksums.txt": f"{digest}  {archive}\n".encode(),
        f"/plugins/pulumi-resource-alicloud-v{pins.ALICLOUD_VERSION}-linux-{go_architecture}"
        ".tar.gz": b"x",
        f"/plugins/pulumi-resource-kubernetes-v{pins.KUBERNETES_PLUGIN_VERSION}-linux-"
        f"{go_architecture}.tar.gz": b"x",
    }


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[str]:
    """The address of a server that has exactly these files."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET  # noqa: N815  # the name that the base class looks for

        def log_message(self, *_: object) -> None:
            """Keeps the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
