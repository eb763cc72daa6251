"""What is wrong with a refused graph, every fault at once, and what would have been allowed.

Pure: the answer to POST /prompt and, where that is silent, the server's object_info.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

SHOWN_VALUES = 12  # allowed values printed of a long list; the rest is counted
SHOWN_BYTES = 300  # of an answer in which no fault is recognised
ASKED = frozenset({"value_not_in_list"})  # faults whose allowed values a reader needs


def sentence(
    headline: str, body: Mapping[str, Any], object_info: Mapping[str, Any] | None = None
) -> str:
    """All faults in the body of an answer to POST /prompt, one line each."""
    faults = list(_faults(body, object_info or {}))
    if not faults:
        faults = [json.dumps(body, ensure_ascii=False)[:SHOWN_BYTES]]
    count = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
    return f"{headline}, {count}:\n" + "\n".join(f"  - {fault}" for fault in faults) + "\n"


def needs_object_info(body: Mapping[str, Any]) -> bool:
    """Whether the answer leaves allowed values out that object_info would tell.

    ComfyUI lists up to 20 choices and sends no declaration for longer lists; of an unknown node
    class it says only that it is unknown.
    """
    if _unknown_class(body):
        return True
    return any(
        fault.get("type") in ASKED and not (fault.get("extra_info") or {}).get("input_config")
        for _, _, fault in _node_faults(body)
    )


def _node_faults(body: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    node_errors = body.get("node_errors")
    for node_id, entry in node_errors.items() if isinstance(node_errors, dict) else ():
        for fault in entry.get("errors", []):
            yield str(node_id), str(entry.get("class_type", "?")), fault


def _unknown_class(body: Mapping[str, Any]) -> str:
    """The node class that the server does not have, if that is the fault."""
    error = body.get("error")
    if not isinstance(error, dict) or error.get("type") != "missing_node_type":
        return ""
    return str((error.get("extra_info") or {}).get("class_type") or "")


def _faults(body: Mapping[str, Any], object_info: Mapping[str, Any]) -> Iterator[str]:
    error = body.get("error")
    node_faults = list(_node_faults(body))
    # "prompt_outputs_failed_validation" only announces the node errors that follow
    if isinstance(error, dict) and not (node_faults and "failed_validation" in str(error)):
        details = error.get("details") or ""
        message = str(error.get("message") or error.get("type") or "no message")
        text = f"{message} ({details})" if details and details != message else message
        unknown = _unknown_class(body)
        alike = difflib.get_close_matches(unknown, object_info, n=3) if unknown else []
        if unknown and object_info:
            text += f"; the server has {len(object_info)} node classes"
            text += f", most like it: {', '.join(alike)}" if alike else ", none like it"
        yield text
    elif isinstance(error, str):
        yield error
    for node_id, class_type, fault in node_faults:
        yield f"node {node_id} ({class_type}): {_fault(fault, class_type, object_info)}"


def _fault(fault: Mapping[str, Any], class_type: str, object_info: Mapping[str, Any]) -> str:
    extra = fault.get("extra_info") or {}
    details = str(fault.get("details") or "")
    parts = [str(fault.get("message") or fault.get("type") or "no message")]
    if details:
        parts.append(f": {details}")
    declaration = extra.get("input_config")
    if not declaration and fault.get("type") in ASKED:
        declaration = declared(object_info, class_type, str(extra.get("input_name", "")))
    allowed = _allowed(declaration)
    if allowed:
        parts.append(f"; allowed: {allowed}")
    return "".join(parts)


def declared(object_info: Mapping[str, Any], class_type: str, name: str) -> Any:
    """An input's declaration in object_info, or None."""
    inputs = object_info.get(class_type, {}).get("input", {})
    return {**(inputs.get("optional") or {}), **(inputs.get("required") or {})}.get(name)


def _allowed(config: Any) -> str:
    """The allowed values of an input, from its declaration in object_info."""
    if not isinstance(config, list) or not config:
        return ""
    options = choices(config)
    if options is not None:
        shown = ", ".join(repr(option) for option in options[:SHOWN_VALUES])
        more = len(options) - SHOWN_VALUES
        return (shown or "nothing (the server has no such file)") + (
            f" and {more} more" if more > 0 else ""
        )
    declared = config[1] if len(config) > 1 and isinstance(config[1], dict) else {}
    words = [str(config[0])]
    words += [f"{key} {declared[key]}" for key in ("min", "max", "step") if key in declared]
    return " ".join(words)


def choices(declaration: Any) -> list[Any] | None:
    """The values of a choice input in object_info, or None when it is no choice.

    Both spellings are known: [[value, ...], {...}] and ["COMBO", {"options": [value, ...]}].
    """
    if not isinstance(declaration, list) or not declaration:
        return None
    if isinstance(declaration[0], list):
        return declaration[0]
    if declaration[0] == "COMBO" and len(declaration) > 1 and isinstance(declaration[1], dict):
        options = declaration[1].get("options")
        return options if isinstance(options, list) else None
    return None
