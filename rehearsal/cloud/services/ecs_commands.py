"""ECS 2014-05-26, Cloud Assistant: saved commands, and whether the agent answers."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

from typing import Any

from rehearsal.cloud.errors import ApiError, missing_parameter
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.assistant_content import (
    check_timeout,
    filled,
    read_script,
    script_of,
)
from rehearsal.cloud.services.ecs_assistant import invoke, keep_command
from rehearsal.cloud.services.ecs_common import instance_status, live_instances
from rehearsal.cloud.services.lookups import (
    ECS,
    Row,
    among,
    arn,
    find,
    here,
    live_rows,
    matching,
    page,
    refuse_unsupported,
    tag_list,
    with_tags,
)
from rehearsal.cloud.state import Cloud, RegionState

COMMAND = arn("ecs", "command", "CommandId")
AGENT_VERSION = "2.2.3.1017"


def _find_command(state: RegionState, command_id: str, cloud: Cloud) -> Row:
    return find(
        state,
        "commands",
        command_id,
        cloud,
        lambda: ApiError(
            "InvalidCmdId.NotFound",
            f"The specified command ID does not exist. Given: {command_id!r}.",
            404,
        ),
    )


@action(*ECS, resource=arn("ecs", "command"), secret_params=("CommandContent",))
def CreateCommand(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Save a command. Its content is in Base64 unless ContentEncoding says PlainText."""
    state = here(request, cloud)
    request.required("Name")
    refuse_unsupported(request, "Launcher")
    script = read_script(request, default_encoding="Base64")
    command_id = cloud.new_id("c", state.name)
    keep_command(request, cloud, state, script, command_id)
    return {"CommandId": command_id}


@action(*ECS, resource=COMMAND, secret_params=("Parameters",))
def InvokeCommand(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Run a saved command in instances."""
    state = here(request, cloud)
    refuse_unsupported(request, "ContainerId", "ContainerName", "OssOutputDelivery", "Launcher")
    row = _find_command(state, request.required("CommandId"), cloud)
    script = script_of(row)
    content = filled(script, request)
    timeout_s = check_timeout(request, script.timeout_s)
    invoke_id = invoke(request, cloud, state, script, content, row["CommandId"], timeout_s)
    state.table("invocations")[invoke_id]["CommandName"] = row["Name"]
    row["InvokeTimes"] += 1
    return {"InvokeId": invoke_id}


@action(*ECS, read_only=True, resource=COMMAND)
def DescribeCommands(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Saved commands, with filters and pages."""
    state = here(request, cloud)
    ids = [item for item in [request.get("CommandId")] if item]
    rows = among(live_rows(state, "commands", cloud), ids, "CommandId")
    rows = with_tags(matching(rows, request, Name="Name", Type="Type"), request)
    chosen, paging = page(request, rows, maximum=50)
    return {
        "Commands": {
            "Command": [
                {
                    **{key: value for key, value in row.items() if key != "Tags"},
                    "Category": "",
                    "Version": 1,
                    "Latest": True,
                    "Provider": "User",
                    "ParameterNames": {"ParameterName": []},
                    "Tags": tag_list(row["Tags"]),
                }
                for row in chosen
            ]
        },
        **paging,
    }


@action(*ECS, resource=COMMAND)
def DeleteCommand(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Delete a saved command."""
    state = here(request, cloud)
    row = _find_command(state, request.required("CommandId"), cloud)
    del state.table("commands")[row["CommandId"]]
    return {}


@action(*ECS, read_only=True)
def DescribeCloudAssistantStatus(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Whether the Cloud Assistant agent of instances answers: when they are Running."""
    state = here(request, cloud)
    ids = request.repeated("InstanceId")
    if not ids and not request.get("OSType"):
        raise missing_parameter("InstanceId.1")
    rows = among(live_instances(state, cloud), ids, "InstanceId")
    chosen, paging = page(request, rows, maximum=50)
    records = list(state.table("invocations").values())
    found = []
    for row in chosen:
        results = [
            r["Instances"][row["InstanceId"]]
            for r in records
            if row["InstanceId"] in r["Instances"]
        ]
        running = instance_status(row, cloud) == "Running"
        found.append(
            {
                "InstanceId": row["InstanceId"],
                "OSType": "Linux",
                "CloudAssistantStatus": "true" if running else "false",
                "CloudAssistantVersion": AGENT_VERSION,
                "SupportSessionManager": False,
                "InvocationCount": len(results),
                "ActiveTaskCount": sum(r["InvocationStatus"] == "Running" for r in results),
                "LastHeartbeatTime": cloud.timestamp() if running else "",
                "LastInvokedTime": results[-1]["StartTime"] if results else "",
            }
        )
    return {
        "InstanceCloudAssistantStatusSet": {"InstanceCloudAssistantStatus": found},
        **paging,
    }
