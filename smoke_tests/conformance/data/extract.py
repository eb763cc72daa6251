"""Makes recordings.json and routes.json from recordings of a real server.

python smoke_tests/conformance/data/extract.py FOLDER
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
#: In the order in which they were recorded; later ones see what earlier ones left in the cache.
SCENARIOS = (
    "reference_run", "identical_resubmit", "rejected_prompts", "execution_error",
    "queue_and_interrupt", "view_and_misc", "edit_video_run", "input_formats", "shapes",
    "core_video_nodes", "audio_kept",
)  # fmt: skip
HEADERS = ("Content-Type", "Content-Disposition", "Accept-Ranges", "Content-Range")
VOLATILE = frozenset({"traceback", "timestamp", "create_time", "execution_start_time",
                      "execution_end_time"})  # fmt: skip
#: A job that is still running when it is asked about, however fast the machine is.
LONG_STEPS = 10_000
METHODS = ("get", "post", "put", "patch", "delete", "head")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")


class Graphs:
    """Collects graphs, so that each lies in the file once."""

    def __init__(self) -> None:
        self.table: list[Any] = []
        self._known: dict[str, int] = {}

    def shrink(self, value: Any, key: str = "") -> Any:
        """The value with graphs as references and without what differs on every run."""
        if key in VOLATILE:
            return f"<{key}>"
        if isinstance(value, list):
            return [self.shrink(item) for item in value]
        if not isinstance(value, dict):
            return value.replace("/opt/comfyui/", "<base>/") if isinstance(value, str) else value
        nodes = list(value.values())
        if nodes and all(isinstance(node, dict) and "class_type" in node for node in nodes):
            # By text, not by value: a server that has run a graph shows 4 as 4.0.
            index = self._known.setdefault(json.dumps(value), len(self.table))
            if index == len(self.table):
                self.table.append(value)
            return {"$graph": index}
        return {name: self.shrink(item, name) for name, item in value.items()}


def references(text: str) -> str:
    """Ids replaced by ``<id-1>``, ``<id-2>`` … in order of appearance."""
    known: dict[str, str] = {}
    return _ID.sub(lambda found: known.setdefault(found[0], f"<id-{len(known) + 1}>"), text)


def upload(note: str) -> dict[str, Any]:
    """What was uploaded, from the words beside the recording."""
    found = re.search(r"image=([\w.]+)", note) or re.search(r"named ([\w.]+)", note)
    name = found[1] if found else "example.png"
    fields = {"overwrite": "true"} if "overwrite=true" in note else {}
    content = name
    if note == "empty file":
        name = content = "empty.png"
    elif note == "filename with a path":
        # As the recorder's client wrote it into the multipart header.
        name = "..%2F..%2Fevil.png"
    elif note == "subfolder traversal":
        fields["subfolder"] = "../.."
    elif note.startswith("subfolder "):
        fields["subfolder"] = note.removeprefix("subfolder ")
    return {"file": name, "content": content, "fields": fields}


def exchange(recorded: dict[str, Any], graphs: Graphs) -> dict[str, Any]:
    """One request with its answer."""
    request, response = recorded["request"], recorded["response"]
    note = request.get("note") or ""
    send: dict[str, Any] = {"method": request["method"], "path": request["path"]}
    if request["path"] == "/upload/image":
        send["upload"] = upload(note)
    elif request.get("json") is not None:
        send["json"] = graphs.shrink(request["json"])
    elif request["method"] == "POST":
        send["raw"] = "this is no JSON"
    if note.startswith("Range: "):
        send["range"] = note.removeprefix("Range: ")
    given = response.get("headers") or {}
    answer = {
        "status": response["status"],
        "headers": {name: given[name] for name in HEADERS if name in given},
    }
    if response.get("json") is not None:
        answer["json"] = graphs.shrink(response["json"])
    return {"note": note, "send": send, "answer": answer}


def messages(exchanges: list[dict[str, Any]], graphs: Graphs) -> list[Any]:
    """WebSocket messages about jobs, in order."""
    return [
        graphs.shrink(item["json"])
        for item in exchanges
        if item.get("websocket") == "text" and "prompt_id" in item["json"]["data"]
    ]


def scenario(name: str, folder: Path, graphs: Graphs) -> dict[str, Any]:
    """One recording."""
    text = references((folder / f"{name}.json").read_text(encoding="utf-8"))
    recorded = json.loads(text)
    if name == "queue_and_interrupt":
        recorded = _slowed(recorded)
    exchanges = recorded["exchanges"]
    return {
        "what": recorded["what"],
        "exchanges": [exchange(item, graphs) for item in exchanges if "request" in item],
        "messages": messages(exchanges, graphs),
    }


def _slowed(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("class_type") == "KSampler":
            return {**value, "inputs": {**value["inputs"], "steps": LONG_STEPS}}
        return {key: _slowed(item) for key, item in value.items()}
    return [_slowed(item) for item in value] if isinstance(value, list) else value


def routes(description: dict[str, Any]) -> list[dict[str, Any]]:
    """Method, path, statuses and field names of every documented route."""
    schemas = description["components"]["schemas"]
    found = []
    for path, operations in sorted(description["paths"].items()):
        for method in METHODS:
            if method in operations:
                responses = operations[method]["responses"]
                found.append(
                    {
                        "method": method.upper(),
                        "path": path,
                        "statuses": sorted(int(status) for status in responses),
                        "fields": _fields(responses.get("200", {}), schemas),
                    }
                )
    return found


def _fields(response: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    while "$ref" in schema or schema.get("type") == "array":
        schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema["items"]
    return sorted(schema.get("required", ()))


def extract(folder: Path) -> dict[str, str]:
    """The texts of both files, by name."""
    graphs = Graphs()
    scenarios = {name: scenario(name, folder, graphs) for name in SCENARIOS}
    description = yaml.safe_load((folder / "openapi.yaml").read_text(encoding="utf-8"))

    def lines(items: list[Any]) -> str:
        dumped = (json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items)
        return "[\n" + ",\n".join(dumped) + "\n]"

    parts = ",\n".join(
        f'"{name}": {{"what": {json.dumps(one["what"])},\n"exchanges": {lines(one["exchanges"])},\n'
        f'"messages": {lines(one["messages"])}}}'
        for name, one in scenarios.items()
    )
    return {
        "recordings.json": f'{{"graphs": {lines(graphs.table)},\n"scenarios": {{\n{parts}\n}}}}\n',
        "routes.json": lines(routes(description)) + "\n",
    }


def main() -> None:
    """Read the folder named on the command line and write both files."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "openapi.yaml").is_file():
        given = " ".join(sys.argv[1:]) or "nothing"
        sys.exit(
            f"{given} was given; a folder with the recordings and openapi.yaml is needed, since "
            f"both files are made from them. Run: python {Path(__file__).name} FOLDER"
        )
    for name, text in extract(Path(sys.argv[1])).items():
        (HERE / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(text)} characters")


if __name__ == "__main__":
    main()
