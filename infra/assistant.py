"""Cloud Assistant: run a script on an ECS instance and read what it printed.

Needs neither an open port nor a login; the agent on the instance asks the cloud for work.
"""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.openapi import Api, code

POLL_SECONDS = 2.0
ENDED = frozenset({"Finished", "Failed", "Stopped", "Timeout", "PartialFailed", "Invalid"})
"""States in which an invocation record changes no more (ECS API, DescribeInvocationResults)."""
NOT_YET = frozenset({"InvalidInstance.NotMatch", "IncorrectInstanceStatus", "ClientNotRunning"})
"""Refusals of RunCommand that mean "the agent is not up yet"; seen while a machine boots."""


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

    Args:
        timeout_seconds: for the script, and again for the agent to come up before it.

    Raises:
        AssistantError: the agent did not come up, the call was refused, or the script did not
            end in time. The message says which.
    """
    started = clock()
    parameters = {
        "Type": "RunShellScript",
        "InstanceId.1": instance_id,
        "CommandContent": base64.b64encode(script.encode()).decode(),
        "ContentEncoding": "Base64",
        "Timeout": str(timeout_seconds),
        "Name": "wan-vace",
    }
    while True:
        try:
            invocation = str(api("RunCommand", parameters)["InvokeId"])
            break
        except Exception as error:
            waited = clock() - started
            if code(error) not in NOT_YET:
                raise AssistantError(
                    f"Cloud Assistant refused to run a command on {instance_id}: {error}. "
                    "The identity that runs Pulumi needs ecs:RunCommand and "
                    "ecs:DescribeInvocationResults on the instance"
                ) from error
            if waited > timeout_seconds:
                raise AssistantError(
                    f"the Cloud Assistant agent on {instance_id} did not come up within "
                    f"{waited:.0f} s (last answer: {error}). Look at the instance's console "
                    "output, and use an image with the agent (all public images have it)"
                ) from error
            pause(POLL_SECONDS)

    # The agent is given a little longer than the script, to report its end.
    deadline = clock() + timeout_seconds + 60
    status = "Pending"
    while clock() < deadline:
        record = _record(api, invocation, instance_id)
        status = str(record.get("InvocationStatus") or record.get("InvokeRecordStatus") or "")
        ended = record.get("InvokeRecordStatus") in ENDED
        if ended and status not in {"Running", "Pending", "Scheduled"}:
            output = base64.b64decode(record.get("Output") or "").decode(errors="replace")
            if status in {"Terminated", "Timeout", "Stopped"}:
                raise AssistantError(
                    f"the command on {instance_id} ended as {status} after {timeout_seconds} s. "
                    f"It had printed:\n{output}"
                )
            return Result(int(record.get("ExitCode") or 0), output)
        pause(POLL_SECONDS)
    raise AssistantError(
        f"the command {invocation} on {instance_id} is still {status} after {timeout_seconds} s. "
        "The machine may hang; look at its console output"
    )


def _record(api: Api, invocation: str, instance_id: str) -> dict[str, Any]:
    answer = api("DescribeInvocationResults", {"InvokeId": invocation, "InstanceId": instance_id})
    rows = answer.get("Invocation", {}).get("InvocationResults", {}).get("InvocationResult", [])
    return dict(rows[0]) if rows else {}
