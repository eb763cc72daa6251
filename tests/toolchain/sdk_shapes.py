"""The Python SDK's idea of a resource or function, in the words of `-dump-schema`."""

import importlib
import inspect
import re
import typing
from collections import abc
from typing import Any

from pulumi import _types

SCALARS = {str: "string", bool: "boolean", int: "integer", float: "number"}


def shape_of(hint: Any) -> Any:
    """A type of the SDK as nested plain values, comparable with `shape_of_property`."""
    hint = _types.unwrap_type(hint)
    if hint in SCALARS:
        return SCALARS[hint]
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (list, abc.Sequence):
        return [shape_of(arguments[0])]
    if origin in (dict, abc.Mapping):
        # The keys are free, and the SDK knows less of the values than the provider does.
        return {"*": "any"}
    if isinstance(hint, type) and _types.is_output_type(hint):
        return {name: shape_of(part) for name, part in _types.output_type_types(hint).items()}
    if isinstance(hint, type) and _types.is_input_type(hint):
        return {name: shape_of(part) for name, part in _types.input_type_types(hint).items()}
    raise AssertionError(f"a type of the SDK that the comparison does not know: {hint!r}")


def shape_of_property(described: dict[str, Any], *, inputs: bool = False) -> Any:
    """A property of `-dump-schema` in the same form; only what can be set where `inputs`."""
    if described["type"] == "array":
        return [shape_of_property(described["items"], inputs=inputs)]
    if described["type"] == "object":
        if "properties" not in described:
            return {"*": "any"}
        return shapes(described["properties"], inputs=inputs)
    return described["type"]


def shapes(properties: dict[str, Any], *, inputs: bool = False) -> dict[str, Any]:
    """All properties of a resource, function or nested object."""
    return {
        name: shape_of_property(described, inputs=inputs)
        for name, described in properties.items()
        if not inputs or described.get("required") or described.get("optional")
    }


def within(part: Any, whole: Any) -> bool:
    """Whether `whole` has all of `part`, with the same types."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and within(part[name], whole[name]) for name in part)
    if isinstance(part, list) and isinstance(whole, list):
        return within(part[0], whole[0])
    return bool(part == whole)


def sdk_module(module: str) -> Any:
    """The SDK's module for the middle part of a token; "index" is the package itself."""
    return importlib.import_module("pulumi_alicloud" + ("" if module == "index" else f".{module}"))


def resource_outputs(module: str, name: str) -> dict[str, Any]:
    """What the SDK reads from a resource."""
    resource = getattr(sdk_module(module), name)
    return {key: shape_of(hint) for key, hint in _types.resource_types(resource).items()}


def resource_inputs(module: str, name: str) -> dict[str, Any]:
    """What the SDK sends for a resource."""
    resource_module = inspect.getmodule(getattr(sdk_module(module), name))
    # "InitArgs" where a nested object already took the plain name.
    arguments = getattr(resource_module, f"{name}InitArgs", None) or getattr(
        resource_module, f"{name}Args"
    )
    return {key: shape_of(hint) for key, hint in _types.input_type_types(arguments).items()}


def resource_token(module: str, name: str) -> str:
    """The token under which the SDK registers a resource."""
    source = inspect.getsource(getattr(sdk_module(module), name)._internal_init)
    return re.findall(r"'(alicloud:[^']+)',\s*resource_name", source)[-1]


def function_outputs(module: str, name: str) -> dict[str, Any]:
    """What the SDK reads from a function's answer."""
    result = getattr(sdk_module(module), name[0].upper() + name[1:] + "Result")
    return {key: shape_of(hint) for key, hint in _types.output_type_types(result).items()}


def function_call(module: str, name: str) -> tuple[str, set[str]]:
    """The token that the SDK invokes for a function, and the arguments that it sends."""
    python_name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    source = inspect.getsource(getattr(sdk_module(module), python_name))
    token = re.findall(r"invoke\('([^']+)'", source)[-1]
    return token, set(re.findall(r"__args__\['(\w+)'\]", source))
