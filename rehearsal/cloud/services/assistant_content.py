"""Cloud Assistant: reading and checking the content of a command."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.registry import Request
from rehearsal.cloud.services.lookups import Row

# RunCommand help, 2026: the content after Base64, and the output, are at most 24 KB.
MAX_CONTENT = 24 * 1024
MAX_OUTPUT = 24 * 1024
DEFAULT_TIMEOUT_S = 60
TIMEOUTS_S = range(10, 86401)
MAX_PARAMETERS = 20
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_\-]+)\s*\}\}")


@dataclass(frozen=True)
class Script:
    """A checked command."""

    content: str
    kind: str
    working_dir: str
    timeout_s: int
    custom: bool

    @property
    def encoded(self) -> str:
        """The content in Base64, as answers carry it."""
        return base64.b64encode(self.content.encode()).decode()


def interpreter_of(content: str) -> str:
    """What runs a script: its own first line when that names one, else sh."""
    first = content.split("\n", 1)[0].strip()
    return first[2:].strip() if first.startswith("#!") and first[2:].strip() else "/bin/sh"


def read_script(request: Request, *, default_encoding: str) -> Script:
    """The command of a RunCommand or CreateCommand request.

    Raises CmdContent.DecodeError and CmdContent.ExceedLimit (403), InvalidCmdType.NotFound (404)
    and InvalidParameter.Timeout (400).
    """
    kind = request.required("Type")
    if kind in ("RunBatScript", "RunPowerShellScript"):
        raise ApiError(
            "InvalidInstance.NotMatch",
            f"The specified instance type does not match the command. {kind} is for Windows; the "
            "emulator has Linux instances. Use RunShellScript.",
        )
    if kind != "RunShellScript":
        raise ApiError(
            "InvalidCmdType.NotFound",
            f"The specified command type does not exist. Given: {kind!r}. Allowed: RunShellScript.",
            404,
        )
    return Script(
        content=_content(request, default_encoding),
        kind=kind,
        working_dir=_working_dir(request.get("WorkingDir")),
        timeout_s=check_timeout(request, DEFAULT_TIMEOUT_S),
        custom=request.boolean("EnableParameter"),
    )


def _content(request: Request, default_encoding: str) -> str:
    text = request.required("CommandContent")
    encoding = request.get("ContentEncoding") or default_encoding
    if encoding not in ("PlainText", "Base64"):
        raise invalid_parameter("ContentEncoding", encoding, "PlainText or Base64")
    if encoding == "Base64":
        size = len(text)
        try:
            text = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, ValueError):
            raise ApiError(
                "CmdContent.DecodeError",
                "The CommandContent can not be base64 decoded.",
                403,
            ) from None
    else:
        size = len(base64.b64encode(text.encode()))
    if size > MAX_CONTENT:
        raise ApiError(
            "CmdContent.ExceedLimit",
            "The maximum length of a command is exceeded. "
            f"Given: {size} characters after Base64. Allowed: {MAX_CONTENT}. Fetch large scripts "
            "from OSS inside the command.",
            403,
        )
    return text


def _working_dir(path: str) -> str:
    if path and not path.startswith("/"):
        raise ApiError(
            "InvalidParameter.WorkingDir",
            f"The specified parameter WorkingDir is not valid. Given: {path!r}. Allowed: an "
            "absolute path.",
        )
    return path or "/root"


def check_timeout(request: Request, default: int) -> int:
    """The request's Timeout in seconds."""
    timeout = request.integer("Timeout", default)
    if timeout not in TIMEOUTS_S:
        raise invalid_parameter("Timeout", timeout, "10 to 86400 seconds")
    return int(timeout or default)


def filled(script: Script, request: Request) -> str:
    """The content with the request's Parameters in place of ``{{name}}``.

    Raises Parameter.Disabled, ParameterCount.ExceedLimit, Parameter.NotMatched.
    """
    given = _parameters(request)
    if not script.custom:
        if given:
            raise ApiError(
                "Parameter.Disabled",
                "Parameters cannot be passed in when the command customization function is "
                "disabled. Send EnableParameter=true.",
            )
        return script.content
    wanted = set(_PLACEHOLDER.findall(script.content))
    if len(given) > MAX_PARAMETERS:
        raise ApiError(
            "ParameterCount.ExceedLimit",
            f"The maximum number of parameters is exceeded. Given: {len(given)}. Allowed: "
            f"{MAX_PARAMETERS}.",
            403,
        )
    if set(given) != wanted:
        raise ApiError(
            "Parameter.NotMatched",
            "The passed-in parameters do not match the parameters defined when you created the "
            f"command. Given: {', '.join(sorted(given))}. Wanted: {', '.join(sorted(wanted))}.",
            403,
        )
    return _PLACEHOLDER.sub(lambda match: given[match.group(1)], script.content)


def _parameters(request: Request) -> dict[str, str]:
    text = request.get("Parameters")
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ApiError(
            "InvalidParameter.Parameters",
            "The specified parameter Parameters is not valid. It must be a JSON object.",
        )
    return {str(key): str(value) for key, value in found.items()}


def script_of(row: Row) -> Script:
    """The script that a saved command holds."""
    return Script(
        content=base64.b64decode(row["CommandContent"]).decode(),
        kind=row["Type"],
        working_dir=row["WorkingDir"],
        timeout_s=int(row["Timeout"]),
        custom=bool(row["EnableParameter"]),
    )
