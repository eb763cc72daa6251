"""XML documents of OSS: written from plain Python values, read without DTDs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, ParseError, fromstring, tostring
from xml.sax.saxutils import escape

from rehearsal.cloud.oss_errors import malformed_xml

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

Node = Mapping[str, Any] | Sequence[Any] | str | int | bool | None


def element(name: str, value: Node) -> str:
    """One element.

    A mapping gives child elements, a list one element of this name per item, None nothing at all.
    """
    if value is None:
        return ""
    if isinstance(value, Mapping):
        inner = "".join(element(child, item) for child, item in value.items())
        return f"<{name}>{inner}</{name}>"
    if isinstance(value, bool):
        return f"<{name}>{str(value).lower()}</{name}>"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "".join(element(name, item) for item in value)
    return f"<{name}>{escape(str(value))}</{name}>"


def document(root: str, value: Node) -> bytes:
    """A whole document."""
    return (DECLARATION + element(root, {} if value is None else value)).encode()


def wrapped(root: str, inner: str) -> bytes:
    """A document around XML that is already written."""
    return f"{DECLARATION}<{root}>{inner}</{root}>".encode()


def parse(body: bytes, root: str) -> Element:
    """Read a document.

    Raises:
        OssError: MalformedXML when it is no XML, has a DTD, or another root.
    """
    # Entities could grow without bound while they are read, and no OSS document has any.
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise malformed_xml("document type declarations are not accepted")
    try:
        found = fromstring(body)  # noqa: S314 - DTDs are refused above
    except ParseError as error:
        raise malformed_xml(str(error)) from error
    for node in found.iter():
        node.tag = node.tag.rpartition("}")[2]
    if found.tag != root:
        raise malformed_xml(f"the root is {found.tag!r}, allowed is {root!r}")
    return found


def text(node: Element, path: str, default: str = "") -> str:
    """The text of a descendant, or the default."""
    return (node.findtext(path) or default).strip()


def inner(node: Element) -> str:
    """The XML inside an element, without white space between elements."""
    for part in node.iter():
        if len(part):
            part.text = None
        part.tail = None
    return "".join(tostring(child, encoding="unicode") for child in node)


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object from a body, for bucket policies.

    Raises:
        OssError: it is none.
    """
    try:
        value = json.loads(body)
    except ValueError as error:
        raise malformed_xml(f"the policy is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise malformed_xml("the policy is no JSON object")
    return value
