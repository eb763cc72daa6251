"""What POST /prompt refuses, in the words of a real server.

Rules and sentences follow recordings of ComfyUI 0.33 (`tests/comfyui/test_recordings.py`).
The one that surprises callers: a prompt with several output nodes is accepted with status 200 when
at least one of them is fine; the others are listed under ``node_errors`` and never run.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rehearsal.comfyui.catalogue import Catalogue
from rehearsal.comfyui.folders import Folders, OutsideFolderError

Graph = dict[str, dict[str, Any]]
Problem = dict[str, Any]

#: A longer list of options is not repeated in the answer.
LONGEST_LIST = 20
#: V3 types that take any link.
ANY_TYPES = frozenset({"*", "COMFY_MATCHTYPE_V3", "COMFY_AUTOGROW_V3"})
#: Links that VideoHelperSuite accepts beyond the declared type (its own multi-input types).
ALSO_ACCEPTED = {
    ("VHS_VideoCombine", "images"): frozenset({"LATENT"}),
    ("VHS_VideoCombine", "frame_rate"): frozenset({"INT"}),
    ("VHS_LoadVideo", "force_rate"): frozenset({"INT"}),
    ("VHS_LoadVideoPath", "force_rate"): frozenset({"INT"}),
}
#: File inputs that a node checks itself; the list of options is then not consulted.
FILE_INPUTS = {
    ("LoadImage", "image"): "Invalid image file: {}",
    ("LoadImageMask", "image"): "Invalid image file: {}",
    ("VHS_LoadVideo", "video"): "Invalid video file: {}",
    ("VHS_LoadVideoFFmpeg", "video"): "Invalid video file: {}",
    ("LoadVideo", "file"): "Invalid video file: {}",
    ("LoadAudio", "audio"): "Invalid audio file: {}",
}
PATH_INPUTS = {
    ("VHS_LoadVideoPath", "video"): "Invalid file path: {}",
    ("VHS_LoadVideoFFmpegPath", "video"): "Invalid file path: {}",
}


@dataclass
class Verdict:
    """Result of the validation.

    Attributes:
        error: why the whole prompt is refused, or None.
        outputs: output nodes that will run.
        node_errors: problems by node id, also those of outputs that will not run.
    """

    error: dict[str, Any] | None
    outputs: list[str] = field(default_factory=list)
    node_errors: dict[str, Any] = field(default_factory=dict)


def problem(kind: str, message: str, details: str, **extra: Any) -> Problem:
    """One entry of ``errors`` in a node's list."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def is_link(value: object) -> bool:
    """Whether an input is a connection ``[node id, slot]``."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )


def types_match(received: object, wanted: object, also: frozenset[str] = frozenset()) -> bool:
    """Whether a link of type ``received`` may go into an input of type ``wanted``.

    Types may be unions written with commas; ``*`` fits everything.
    """
    if received == wanted:
        return True
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    if received in ANY_TYPES or wanted in ANY_TYPES or received in also:
        return True
    left = {part.strip() for part in received.split(",")}
    right = {part.strip() for part in wanted.split(",")}
    return bool(left & right) or "*" in right


class Validation:
    """Checks one prompt; use `validate`."""

    def __init__(self, graph: Graph, catalogue: Catalogue, folders: Folders) -> None:
        self._graph = graph
        self._catalogue = catalogue
        self._folders = folders
        self._done: dict[str, tuple[bool, list[Problem]]] = {}

    def run(self, targets: list[str] | None) -> Verdict:
        """Check classes, then every output node with everything upstream of it."""
        outputs = []
        for node_id, node in self._graph.items():
            error = self._class_error(node_id, node)
            if error is not None:
                return Verdict(error)
            wanted = targets is None or node_id in targets
            if wanted and self._catalogue.is_output(node["class_type"]):
                outputs.append(node_id)
        if not outputs:
            return Verdict(
                {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": "",
                 "extra_info": {}}
            )  # fmt: skip
        # The real server keeps them in a set, whose order means nothing; the recordings show the
        # last node first, and so does this server, so that runs can be compared.
        outputs.reverse()
        return self._outputs_verdict(outputs)

    def _class_error(self, node_id: str, node: Mapping[str, Any]) -> dict[str, Any] | None:
        class_type = node.get("class_type")
        title = (node.get("_meta") or {}).get("title")
        if class_type is None:
            message = (
                f"Node '{title or f'ID #{node_id}'}' has no class_type. The workflow may be "
                "corrupted or a custom node is missing."
            )
        elif class_type not in self._catalogue:
            title = title or class_type
            message = f"Node '{title}' not found. The custom node may not be installed."
        else:
            return None
        extra = {"node_id": node_id, "class_type": class_type, "node_title": title}
        return {
            "type": "missing_node_type",
            "message": message,
            "details": f"Node ID '#{node_id}'",
            "extra_info": extra,
        }

    def _outputs_verdict(self, outputs: list[str]) -> Verdict:
        good: list[str] = []
        messages: list[str] = []
        node_errors: dict[str, Any] = {}
        for output in outputs:
            try:
                valid, problems = self._node(output)
            except Exception as error:
                valid, problems = False, [_exception_problem("exception_during_validation",
                    "Exception when validating node", error, {})]  # fmt: skip
                self._done[output] = (False, problems)
            if valid:
                good.append(output)
                continue
            messages += [entry["message"] for entry in problems]
            for node_id, (node_valid, node_problems) in self._done.items():
                if node_valid or not node_problems:
                    continue
                entry = node_errors.setdefault(
                    node_id,
                    {
                        "errors": node_problems,
                        "dependent_outputs": [],
                        "class_type": self._graph[node_id]["class_type"],
                    },
                )
                entry["dependent_outputs"].append(output)
        if good:
            return Verdict(None, good, node_errors)
        return Verdict(
            {
                "type": "prompt_outputs_failed_validation",
                "message": "Prompt outputs failed validation",
                "details": "\n".join(dict.fromkeys(messages)),
                "extra_info": {},
            },
            [],
            node_errors,
        )

    def _node(self, node_id: str) -> tuple[bool, list[Problem]]:
        if node_id in self._done:
            return self._done[node_id]
        node = self._graph[node_id]
        class_type, values = node["class_type"], node["inputs"]
        problems: list[Problem] = []
        upstream_valid = True
        for name, (section, wanted, config) in self._catalogue.inputs(class_type).items():
            if name not in values:
                if section == "required":
                    problems.append(
                        problem("required_input_missing", "Required input is missing", name,
                                input_name=name)
                    )  # fmt: skip
                continue
            info = [wanted, config]
            if isinstance(values[name], list):
                found, fine = self._link(class_type, name, values[name], info)
                upstream_valid = upstream_valid and fine
            else:
                found = self._value(class_type, name, values, info)
            problems += found
        problems += self._file_problems(class_type, values)
        result = (upstream_valid and not problems, problems)
        self._done[node_id] = result
        return result

    def _link(
        self, class_type: str, name: str, value: list[Any], info: list[Any]
    ) -> tuple[list[Problem], bool]:
        if len(value) != 2:
            return [
                problem(
                    "bad_linked_input",
                    "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                    name, input_name=name, input_config=info, received_value=value,
                )
            ], True  # fmt: skip
        source, slot = value
        received = self._catalogue.output_types(self._graph[source]["class_type"])[slot]
        also = ALSO_ACCEPTED.get((class_type, name), frozenset())
        if not types_match(received, info[0], also):
            details = f"{name}, received_type({received}) mismatch input_type({info[0]})"
            return [
                problem(
                    "return_type_mismatch", "Return type mismatch between linked nodes", details,
                    input_name=name, input_config=info, received_type=received, linked_node=value,
                )
            ], True  # fmt: skip
        try:
            return [], self._node(source)[0]
        except Exception as error:
            extra = {"input_name": name, "input_config": info, "linked_node": value}
            found = _exception_problem(
                "exception_during_inner_validation",
                "Exception when validating inner node",
                error,
                extra,
            )
            self._done[source] = (False, [found])
            return [], False

    def _value(
        self, class_type: str, name: str, values: dict[str, Any], info: list[Any]
    ) -> list[Problem]:
        wanted, config = info
        value = values[name]
        try:
            value = values[name] = _converted(value, wanted)
        except Exception as error:
            return [
                problem(
                    "invalid_input_type",
                    f"Failed to convert an input value to a {wanted} value",
                    f"{name}, {value}, {error}",
                    input_name=name, input_config=info, received_value=value,
                    exception_message=str(error),
                )
            ]  # fmt: skip
        if (class_type, name) in FILE_INPUTS or (class_type, name) in PATH_INPUTS:
            return []
        given = {"input_name": name, "input_config": info, "received_value": value}
        if "min" in config and value < config["min"]:
            message = f"Value {value} smaller than min of {config['min']}"
            return [problem("value_smaller_than_min", message, name, **given)]
        if "max" in config and value > config["max"]:
            message = f"Value {value} bigger than max of {config['max']}"
            return [problem("value_bigger_than_max", message, name, **given)]
        options = config.get("options", []) if wanted == "COMBO" else wanted
        if isinstance(options, list) and (wanted == "COMBO" or isinstance(wanted, list)):
            return _option_problems(name, value, options, given)
        return []

    def _file_problems(self, class_type: str, values: dict[str, Any]) -> list[Problem]:
        found = []
        for (owner, name), message in (*FILE_INPUTS.items(), *PATH_INPUTS.items()):
            value = values.get(name)
            if owner != class_type or value is None or isinstance(value, list):
                continue
            try:
                if (owner, name) in PATH_INPUTS:
                    exists = self._folders.server_file(str(value)).is_file()
                else:
                    exists = self._folders.input_file(str(value)).is_file()
            except (OutsideFolderError, ValueError):
                exists = False
            if not exists:
                found.append(
                    problem(
                        "custom_validation_failed", "Custom validation failed for node",
                        f"{name} - {message.format(value)}", input_name=name,
                    )
                )  # fmt: skip
        return found


def _converted(value: Any, wanted: Any) -> Any:
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    match wanted:
        case "INT":
            return int(value)
        case "FLOAT":
            return float(value)
        case "STRING":
            return str(value)
        case "BOOLEAN":
            return bool(value)
    return value


def _option_problems(
    name: str, value: Any, options: list[Any], given: dict[str, Any]
) -> list[Problem]:
    if value in options:
        return []
    listed = str(options)
    if len(options) > LONGEST_LIST:
        listed, given = f"(list of length {len(options)})", {**given, "input_config": None}
    return [
        problem(
            "value_not_in_list", "Value not in list", f"{name}: '{value}' not in {listed}", **given
        )
    ]


def _exception_problem(kind: str, message: str, error: Exception, extra: dict[str, Any]) -> Problem:
    linked = {key: extra.pop(key) for key in ("linked_node",) if key in extra}
    return problem(
        kind, message, str(error), **extra, exception_message=str(error),
        exception_type=type(error).__name__, traceback=traceback.format_tb(error.__traceback__),
        **linked,
    )  # fmt: skip


def validate(
    graph: Graph, catalogue: Catalogue, folders: Folders, targets: list[str] | None = None
) -> Verdict:
    """Check a graph as POST /prompt does. Numbers in it are converted in place, as ComfyUI does.

    Args:
        graph: node id to ``{"class_type", "inputs"}``.
        catalogue: the node classes.
        folders: where file inputs must exist.
        targets: run only these output nodes (``partial_execution_targets``), or None for all.
    """
    return Validation(graph, catalogue, folders).run(targets)
