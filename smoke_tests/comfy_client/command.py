"""The commands: each one function from options and a client to what is printed."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from smoke_tests.comfy_client.arguments import parser, target
from smoke_tests.comfy_client.client import ComfyClient
from smoke_tests.comfy_client.deadline import Deadline
from smoke_tests.comfy_client.errors import (
    BadTarget,
    ComfyError,
    ConnectionProblem,
    SubmitProblem,
    WorkflowError,
)
from smoke_tests.comfy_client.progress_line import ProgressLine
from smoke_tests.comfy_client.protocol import OutputFile, queue_ids, queue_position
from smoke_tests.comfy_client.rejection import choices, declared
from smoke_tests.comfy_client.workflow import Workflow

Report = tuple[dict[str, Any], str]  # for --json, and for people
FILES = ("video", "mask", "image")


class LocalFile(ComfyError):  # noqa: N818 - named like its relatives in `errors`
    """A file on this machine cannot be used."""

    remedy = "Name another file."


class Lacking(SubmitProblem):
    """The server lacks a node class or a file that the workflow names."""

    remedy = "Install what is missing on the server, or use another workflow."


def main(arguments: list[str] | None = None) -> int:
    """Carry out one command; the exit status of the process."""
    options = parser().parse_args(arguments)
    try:
        with ComfyClient(target(options, os.environ)) as client:
            data, text = COMMANDS[options.command](options, client)
    except ComfyError as error:
        print(f"error: {error.name}: {error}", file=sys.stderr)
        if error.detail:
            print(error.detail, file=sys.stderr)
        return _status(error)
    except KeyboardInterrupt as interrupt:
        left = " ".join(getattr(interrupt, "__notes__", ()))
        print(f"interrupted; {left or 'no job of this command is left'}", file=sys.stderr)
        return 130
    print(json.dumps(data, ensure_ascii=False, indent=2) if options.json else text)
    return 0


def _status(error: ComfyError) -> int:
    if isinstance(error, BadTarget | WorkflowError | LocalFile):
        return 2
    if isinstance(error, ConnectionProblem):
        return 3
    return 4 if isinstance(error, SubmitProblem) else 1


def _run(options: argparse.Namespace, client: ComfyClient) -> Report:
    deadline = Deadline(options.timeout)
    _expect_free(options.out, force=options.force)
    files = {name: getattr(options, name) for name in FILES if getattr(options, name)}
    for name, path in files.items():
        _expect_readable(f"--{name}", path)
    workflow = _workflow(options.workflow, client, deadline)
    seed = secrets.randbits(48) if options.seed is None else options.seed
    width, height = options.size or (None, None)

    def filled(references: Mapping[str, str]) -> Workflow:
        return workflow.with_inputs(
            prompt=options.prompt,
            negative_prompt=options.negative_prompt,
            seed=seed,
            width=width,
            height=height,
            frames=options.frames,
            fps=options.fps,
            steps=options.steps,
            cfg=options.cfg,
            strength=options.strength,
            **references,
        )

    filled({name: path.name for name, path in files.items()})  # a mistake is told before uploads
    sent = {
        name: client.upload(path, path.name, deadline).reference for name, path in files.items()
    }
    line = ProgressLine(sys.stderr)
    try:
        result = client.run(filled(sent).graph, deadline, on_progress=line, stall_s=options.stall)
    finally:
        line.end()
    got = _fetch(client, result.videos[0], options.out, deadline, force=options.force)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    data = {
        **got,
        "prompt_id": result.prompt_id,
        "seed": seed,
        "queue_wait_s": result.queue_wait_s,
        "execution_s": result.execution_s,
    }
    return data, (
        f"{options.out}: {got['bytes']} bytes, seed {seed}, waited {result.queue_wait_s} s, "
        f"made in {result.execution_s} s"
    )


def _upload(options: argparse.Namespace, client: ComfyClient) -> Report:
    for path in options.files:
        _expect_readable("FILE", path)
    deadline = Deadline(options.timeout)
    names = {
        str(path): client.upload(path, path.name, deadline).reference for path in options.files
    }
    return {"uploaded": names}, "\n".join(names.values())


def _download(options: argparse.Namespace, client: ComfyClient) -> Report:
    _expect_free(options.out, force=options.force)
    place = PurePosixPath(options.name)
    folder = "" if str(place.parent) == "." else str(place.parent)
    file = OutputFile("", "", place.name, folder, options.type)
    got = _fetch(client, file, options.out, Deadline(options.timeout), force=options.force)
    return got, f"{options.out}: {got['bytes']} bytes"


def _queue(options: argparse.Namespace, client: ComfyClient) -> Report:
    queue = client.queue(Deadline(options.timeout))
    places = {each: queue_position(queue, each) or 0 for each in queue_ids(queue)}
    ordered = sorted(places, key=lambda each: places[each])
    lines = [
        f"{each}  {f'waits as {places[each]}' if places[each] else 'runs'}" for each in ordered
    ]
    data = {
        "running": [each for each in ordered if not places[each]],
        "pending": [each for each in ordered if places[each]],
    }
    return data, "\n".join(lines) or "nothing runs, nothing waits"


def _cancel(options: argparse.Namespace, client: ComfyClient) -> Report:
    deadline = Deadline(options.timeout)
    known = queue_ids(client.queue(deadline))
    for prompt_id in options.ids:
        client.cancel(prompt_id, deadline)
    done = {each: each in known for each in options.ids}
    lines = [
        f"{each}  {'cancelled' if there else 'was not queued'}" for each, there in done.items()
    ]
    return {"cancelled": [each for each, there in done.items() if there]}, "\n".join(lines)


def _nodes(options: argparse.Namespace, client: ComfyClient) -> Report:
    info = client.object_info(Deadline(options.timeout))
    found = sorted(name for name in info if options.pattern.lower() in name.lower())
    return {"nodes": found}, "\n".join(found) or f"none of {len(info)} classes has that in its name"


def _check(options: argparse.Namespace, client: ComfyClient) -> Report:
    deadline = Deadline(options.timeout)
    stats, simulated = client.system_stats(deadline)
    version = str(stats["system"]["comfyui_version"])
    devices = [str(each.get("name")) for each in stats.get("devices", []) if isinstance(each, dict)]
    data: dict[str, Any] = {"comfyui": version, "simulated": simulated, "devices": devices}
    text = f"ComfyUI {version}{' (simulated)' if simulated else ''} on {', '.join(devices) or '?'}"
    if options.workflow:
        workflow = _workflow(options.workflow, client, deadline)
        missing = list(_missing(workflow, client.object_info(deadline)))
        if missing:
            raise Lacking(
                f"{options.workflow} cannot run at {client.target.url}:\n"
                + "\n".join(f"  - {each}" for each in missing)
                + "\n"
            )
        data["inputs"] = workflow.inputs()
        text += f"\n{options.workflow}: the server has all that it names"
    return data, text


COMMANDS = {
    "run": _run,
    "upload": _upload,
    "download": _download,
    "queue": _queue,
    "cancel": _cancel,
    "nodes": _nodes,
    "check": _check,
}


def _workflow(name: str, client: ComfyClient, deadline: Deadline) -> Workflow:
    """A workflow by file or by the name of a shipped recipe."""
    path = Path(name)
    if not path.exists() and path.suffix != ".json":
        # imported here, for a file needs none of it
        module = importlib.import_module("smoke_tests.workflows")
        recipes: Mapping[str, Any] = getattr(module, "RECIPES", {})
        if name not in recipes:
            raise WorkflowError(
                f"WORKFLOW is {name!r}, neither a file nor a shipped workflow.",
                remedy=f"Give a JSON file or one of: {', '.join(recipes) or 'none are shipped'}.",
            )
        shipped: Workflow = recipes[name].workflow()
        return shipped
    try:
        return Workflow.load(path)
    except WorkflowError as error:
        if "format of ComfyUI's editor" not in error.what:
            raise
    return Workflow.load(path, client.object_info(deadline))


def _missing(workflow: Workflow, object_info: Mapping[str, Any]) -> Iterator[str]:
    """What the workflow names and the server does not have; uploaded files are not looked for."""
    for node_id, node in workflow.graph.items():
        kind = node["class_type"]
        if kind not in object_info:
            yield f"node {node_id}: the server has no class {kind}"
            continue
        for name, value in node["inputs"].items():
            declaration = declared(object_info, kind, name)
            offered = choices(declaration)
            options = declaration[1] if offered is not None and len(declaration) > 1 else {}
            uploaded = any(key.endswith("_upload") for key in options) or kind.startswith(
                "VHS_Load"
            )
            plain = isinstance(value, str | int | float)
            if offered is not None and not uploaded and plain and value not in offered:
                yield f"node {node_id} ({kind}): {name} has no {value!r} on the server"


def _expect_readable(option: str, path: Path) -> None:
    if not path.is_file() or not os.access(path, os.R_OK):
        raise LocalFile(
            f"{option} is {path}, which is no file that can be read; its content is to be uploaded."
        )


def _expect_free(out: Path, *, force: bool) -> None:
    if out.exists() and not force:
        raise LocalFile(
            f"--out is {out}, which exists; an earlier result is not overwritten.",
            remedy="Name another file, or say --force.",
        )
    if out.is_dir() or not out.parent.is_dir():
        raise LocalFile(
            f"--out is {out}; it must be a file in a folder that exists, as it is written there "
            "under a temporary name first.",
            remedy="Make the folder, or name another file.",
        )


def _fetch(
    client: ComfyClient, file: OutputFile, out: Path, deadline: Deadline, *, force: bool
) -> dict[str, Any]:
    """Download whole, then give it its name; never over a file that appeared meanwhile."""
    staged = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    got = client.download(file, staged, deadline)
    try:
        if force:
            staged.replace(out)
        else:
            os.link(staged, out)  # fails if it exists, unlike a rename
            staged.unlink()
    except OSError as error:
        raise LocalFile(
            f"--out {out} cannot be written ({error.strerror}); the video is kept as {staged}.",
            remedy=f"Move it: mv {staged} NEW_NAME",
        ) from error
    return {"out": str(out), "bytes": got.size, "sha256": got.sha256, "file": file.filename}
