"""Cloud Assistant: run a script on an ECS instance and read what it printed.

Needs neither an open port nor a login; the agent on the instance asks the cloud for work.
"""

import base64
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra import openapi
from infra.openapi import Api

POLL_SECONDS = 2.0
REPORT_SECONDS = 60
"""How much longer than the script its record may take to say so."""
GOES_ON = frozenset({"", "Pending", "Scheduled", "Running", "Stopping"})
"""InvocationStatus of a record that will still change (ECS API, DescribeInvocationResults)."""
REFUSED_FOR_NOW = frozenset(
    {"InvalidInstance.NotMatch", "IncorrectInstanceStatus", "ClientNotRunning"}
)
"""Refusals of RunCommand that mean "the agent is not up yet"; seen while a machine boots."""
NOT_DELIVERED = frozenset(
    {
        "ClientNotRunning",
        "ClientNotResponse",
        "ClientIsUpgrading",
        "DeliveryTimeout",
        "InstanceNotRunning",
    }
)
"""ErrorCode of a record whose script never ran, for the same reason (same page)."""


class AssistantError(Exception):
    """Cloud Assistant refused, or did not answer in time."""


@dataclass(frozen=True)
class Result:
    """What a script ended with."""

    exit_code: int
    output: str


def run(
    api: Api,
    instance_id: str,
    script: str,
    *,
    timeout_seconds: int,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Result:
    """Run a shell script as root on the instance and wait for its end.

    A script that was not delivered, because the agent was not up, is sent again. Failures that
    pass by waiting (:func:`infra.openapi.transient`) are waited out as long as the script itself.

    Args:
        timeout_seconds: for the script, and again for the agent to come up before it.

    Raises:
        AssistantError: the agent did not come up, the call was refused, or the script did not
            run to its end in time. The message says which.
    """
    until = clock() + timeout_seconds
    # A second try after a lost answer must not run the script twice.
    client_token = str(uuid.uuid4())
    while True:
        try:
            invocation = _send(api, instance_id, script, timeout_seconds, client_token)
            record = _ended(
                api,
                invocation,
                instance_id,
                timeout_seconds=timeout_seconds,
                clock=clock,
                pause=pause,
            )
        except _NotYetError as error:
            reason = str(error)
        else:
            reason = _undelivered(record)
            if not reason:
                return _result(record, instance_id)
            client_token = str(uuid.uuid4())
        if clock() > until:
            raise AssistantError(
                f"the Cloud Assistant agent on {instance_id} did not come up within "
                f"{timeout_seconds} s (last answer: {reason}). Look at the instance's console "
                "output, and use an image with the agent (all public images have it)"
            )
        pause(POLL_SECONDS)


class _NotYetError(Exception):
    """The call is worth making again; the message is what the cloud said."""


def _send(api: Api, instance_id: str, script: str, timeout_seconds: int, client_token: str) -> str:
    try:
        answer = api(
            "RunCommand",
            {
                "Type": "RunShellScript",
                "InstanceId.1": instance_id,
                "CommandContent": base64.b64encode(script.encode()).decode(),
                "ContentEncoding": "Base64",
                "Timeout": str(timeout_seconds),
                "Name": "wan-vace",
                "ClientToken": client_token,
            },
        )
    except Exception as error:
        if openapi.code(error) in REFUSED_FOR_NOW or openapi.transient(error):
            raise _NotYetError(openapi.said(error)) from error
        raise _refused(instance_id, error) from error
    return str(answer["InvokeId"])


def _ended(
    api: Api,
    invocation: str,
    instance_id: str,
    *,
    timeout_seconds: int,
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> dict[str, Any]:
    """Poll until the record has ended and return it."""
    deadline = clock() + timeout_seconds + REPORT_SECONDS
    last = "Pending"
    while clock() < deadline:
        try:
            record = _record(api, invocation, instance_id)
        except Exception as error:
            if not openapi.transient(error):
                raise _refused(instance_id, error) from error
            last = openapi.said(error)
        else:
            last = _status(record)
            if last not in GOES_ON:
                return record
        pause(POLL_SECONDS)
    raise AssistantError(
        f"the command {invocation} on {instance_id} has not ended {REPORT_SECONDS} s after its "
        f"limit of {timeout_seconds} s; the last answer was {last or 'empty'}. The machine may "
        "hang; look at its console output"
    )


def _record(api: Api, invocation: str, instance_id: str) -> dict[str, Any]:
    answer = api("DescribeInvocationResults", {"InvokeId": invocation, "InstanceId": instance_id})
    rows = answer.get("Invocation", {}).get("InvocationResults", {}).get("InvocationResult", [])
    return dict(rows[0]) if rows else {}


def _status(record: dict[str, Any]) -> str:
    return str(record.get("InvocationStatus") or record.get("InvokeRecordStatus") or "")


def _undelivered(record: dict[str, Any]) -> str:
    """Return why the script never ran, or nothing when it did."""
    if _status(record) != "Success" and record.get("ErrorCode") in NOT_DELIVERED:
        return f"{record['ErrorCode']}: {record.get('ErrorInfo') or 'no further word'}"
    return ""


def _result(record: dict[str, Any], instance_id: str) -> Result:
    """Return what the script ended with; only what the cloud calls Success is one."""
    status = _status(record)
    output = base64.b64decode(record.get("Output") or "").decode(errors="replace")
    if status == "Success":
        return Result(0, output)
    exit_code = record.get("ExitCode")
    # A script that ends by itself with a failure is "Failed" and has its exit code.
    if status == "Failed" and exit_code not in (None, "", 0):
        return Result(int(exit_code), output)
    why = f"{record.get('ErrorCode') or 'no code'}: {record.get('ErrorInfo') or 'no further word'}"
    raise AssistantError(
        f"the command on {instance_id} ended as {status} instead of by itself ({why}). Run "
        f"`pulumi up` again to repeat it. It had printed:\n{output or '(nothing)'}"
    )


def _refused(instance_id: str, error: Exception) -> AssistantError:
    remedy = (
        "The identity that runs Pulumi needs ecs:RunCommand and ecs:DescribeInvocationResults "
        "on the instance"
        if openapi.forbidden(error)
        else "Mend that and run `pulumi up` again"
    )
    return AssistantError(
        f"Cloud Assistant refused to run a command on {instance_id} ({openapi.said(error)}). "
        f"{remedy}"
    )
