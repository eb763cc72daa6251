"""ECS 2014-05-26, Cloud Assistant: running commands inside instances, and their results."""

# ruff: noqa: N802 - an action's function is named as on the wire

from __future__ import annotations

import base64
import logging
from functools import partial
from typing import Any

from rehearsal.cloud.errors import ApiError, invalid_parameter
from rehearsal.cloud.hypervisor import CommandResult
from rehearsal.cloud.registry import Request, action
from rehearsal.cloud.services.assistant_content import (
    MAX_OUTPUT,
    Script,
    filled,
    interpreter_of,
    read_script,
)
from rehearsal.cloud.services.ecs_common import instance_status, live_instances
from rehearsal.cloud.services.lookups import (
    ECS,
    Row,
    among,
    arn,
    check_description,
    here,
    matching,
    new_tags,
    page,
    refuse_unsupported,
    tag_list,
)
from rehearsal.cloud.state import Cloud, RegionState

MAX_INSTANCES = 100
_log = logging.getLogger(__name__)
_INSTANCES = arn("ecs", "instance")


@action(*ECS, resource=_INSTANCES, secret_params=("CommandContent", "Parameters"))
def RunCommand(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Run a shell script in instances; answers at once, the results follow."""
    state = here(request, cloud)
    refuse_unsupported(
        request, "ContainerId", "ContainerName", "OssOutputDelivery", "Launcher", "ResourceTag"
    )
    script = read_script(request, default_encoding="PlainText")
    content = filled(script, request)
    command_id = cloud.new_id("c", state.name)
    if request.boolean("KeepCommand"):
        keep_command(request, cloud, state, script, command_id)
    invoke_id = invoke(request, cloud, state, script, content, command_id)
    return {"CommandId": command_id, "InvokeId": invoke_id}


def keep_command(
    request: Request, cloud: Cloud, state: RegionState, script: Script, command_id: str
) -> None:
    """Save a command for later invocations."""
    state.table("commands")[command_id] = {
        "CommandId": command_id,
        "Name": request.get("Name"),
        "Description": check_description(request.get("Description")),
        "Type": script.kind,
        "CommandContent": script.encoded,
        "WorkingDir": script.working_dir,
        "Timeout": script.timeout_s,
        "EnableParameter": script.custom,
        "CreationTime": cloud.timestamp(),
        "InvokeTimes": 0,
        "Tags": new_tags(request),
    }


def invoke(  # noqa: PLR0917 - the parts of one invocation
    request: Request,
    cloud: Cloud,
    state: RegionState,
    script: Script,
    content: str,
    command_id: str,
    timeout_s: int = 0,
) -> str:
    """Start a script in the request's instances and return the InvokeId.

    Raises MissingParam.InstanceId, InstanceIds.ExceedLimit and InvalidInstance.NotFound. An
    instance that does not run is no error here: its result says so, as on the real cloud.
    """
    if request.get("RepeatMode") not in ("", "Once"):
        refuse_unsupported(request, "RepeatMode", "Frequency", "Timed")
    rows = _instances(request, cloud, state)
    invoke_id = cloud.new_id("t", state.name)
    now = cloud.timestamp()
    user = request.get("Username") or "root"
    timeout_s = timeout_s or script.timeout_s
    record: Row = {
        "InvokeId": invoke_id,
        "CommandId": command_id,
        "CommandName": request.get("Name"),
        "CommandType": script.kind,
        "CommandContent": script.encoded,
        "WorkingDir": script.working_dir,
        "Username": user,
        "Timeout": timeout_s,
        "CreationTime": now,
        "Tags": new_tags(request),
        "Instances": {row["InstanceId"]: _result(now) for row in rows},
    }
    state.table("invocations")[invoke_id] = record
    for row in rows:
        instance_id = row["InstanceId"]
        result = record["Instances"][instance_id]
        if instance_status(row, cloud) != "Running":
            _finish(
                result,
                cloud,
                "Failed",
                "Failed",
                error=("InstanceNotRunning", "The instance status is not running."),
            )
            continue
        run = partial(
            cloud.hypervisor.run_command,
            instance_id,
            content.encode(),
            interpreter=interpreter_of(content),
            working_dir=script.working_dir,
            timeout_s=timeout_s,
            user=user,
        )
        cloud.background(f"{invoke_id} on {instance_id}", partial(_carry_out, cloud, result, run))
    return invoke_id


def _instances(request: Request, cloud: Cloud, state: RegionState) -> list[Row]:
    ids = request.repeated("InstanceId")
    if not ids:
        raise ApiError("MissingParam.InstanceId", "The parameter instanceId is missing or empty.")
    if len(ids) > MAX_INSTANCES:
        raise ApiError(
            "InstanceIds.ExceedLimit",
            "The number of instance IDs exceeds the upper limit. "
            f"Given: {len(ids)}. Allowed: {MAX_INSTANCES}.",
            403,
        )
    live = {row["InstanceId"]: row for row in live_instances(state, cloud)}
    missing = [instance_id for instance_id in ids if instance_id not in live]
    if missing:
        raise ApiError(
            "InvalidInstance.NotFound",
            f"The specified instance does not exist. Given: {', '.join(missing)}.",
            404,
        )
    return [live[instance_id] for instance_id in ids]


def _result(now: str) -> Row:
    return {
        "InvokeRecordStatus": "Running",
        "InvocationStatus": "Running",
        "CreationTime": now,
        "StartTime": now,
        "FinishedTime": "",
        "StopTime": "",
        "ExitCode": None,
        "Output": "",
        "Dropped": 0,
        "ErrorCode": "",
        "ErrorInfo": "",
    }


def _carry_out(cloud: Cloud, result: Row, run: partial[CommandResult]) -> None:
    try:
        outcome = run()
    except Exception as error:
        _log.exception("a command could not be run")
        with cloud.lock:
            _finish(
                result,
                cloud,
                "Failed",
                "Failed",
                error=("ClientNotRunning", f"The Cloud Assistant client is not running: {error}"),
            )
            cloud.save()
        return
    with cloud.lock:
        result["Output"] = base64.b64encode(outcome.output[:MAX_OUTPUT]).decode()
        result["Dropped"] = max(0, len(outcome.output) - MAX_OUTPUT)
        if outcome.timed_out:
            _finish(
                result,
                cloud,
                "Failed",
                "Timeout",
                error=("ExecutionTimeout", "The execution timed out."),
            )
        else:
            result["ExitCode"] = outcome.exit_code
            # "Finished" says that the script ended, whatever its exit code.
            _finish(result, cloud, "Finished", "Failed" if outcome.exit_code else "Success")
        cloud.save()


def _finish(
    result: Row,
    cloud: Cloud,
    record_status: str,
    status: str,
    *,
    error: tuple[str, str] = ("", ""),
) -> None:
    if result["InvocationStatus"] != "Running":
        return  # stopped in the meantime
    result["InvokeRecordStatus"], result["InvocationStatus"] = record_status, status
    result["ErrorCode"], result["ErrorInfo"] = error
    result["FinishedTime"] = cloud.timestamp()


@action(*ECS)
def StopInvocation(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Give up a running invocation. The script itself ends at the latest with its timeout."""
    state = here(request, cloud)
    record = _record(state, request.required("InvokeId"))
    ids = request.repeated("InstanceId") or list(record["Instances"])
    for instance_id in ids:
        result = record["Instances"].get(instance_id)
        if result and result["InvocationStatus"] == "Running":
            _finish(result, cloud, "Stopped", "Terminated")
            result["StopTime"] = cloud.timestamp()
    return {}


def _record(state: RegionState, invoke_id: str) -> Row:
    record = state.table("invocations").get(invoke_id)
    if record is None:
        raise ApiError(
            "InvalidInvokeId.NotFound",
            f"The specified invoke ID does not exist. Given: {invoke_id!r}.",
            404,
        )
    return record


# --- results ------------------------------------------------------------------------------------


@action(*ECS, read_only=True)
def DescribeInvocationResults(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Results per instance, with output."""
    state = here(request, cloud)
    records = among(
        state.table("invocations").values(),
        [i for i in [request.get("InvokeId")] if i],
        "InvokeId",
    )
    records = matching(records, request, CommandId="CommandId")
    wanted, status = request.get("InstanceId"), request.get("InvokeRecordStatus")
    results = [
        _result_view(record, instance_id, result, _encoding(request))
        for record in reversed(records)
        for instance_id, result in record["Instances"].items()
        if wanted in ("", instance_id) and status in ("", result["InvokeRecordStatus"])
    ]
    chosen, paging = page(request, results, maximum=50)
    return {"Invocation": {"InvocationResults": {"InvocationResult": chosen}, **paging}}


@action(*ECS, read_only=True)
def DescribeInvocations(request: Request, cloud: Cloud) -> dict[str, Any]:
    """Invocations, each with its instances; their output only with IncludeOutput."""
    state = here(request, cloud)
    records = matching(
        state.table("invocations").values(),
        request,
        InvokeId="InvokeId",
        CommandId="CommandId",
        CommandName="CommandName",
        CommandType="CommandType",
    )
    wanted, status = request.get("InstanceId"), request.get("InvokeStatus")
    records = [
        record
        for record in reversed(records)
        if (not wanted or wanted in record["Instances"]) and status in ("", _invoke_status(record))
    ]
    chosen, paging = page(request, records, maximum=50)
    with_output = request.boolean("IncludeOutput")
    return {
        "Invocations": {
            "Invocation": [
                _invocation_view(record, with_output, _encoding(request)) for record in chosen
            ]
        },
        **paging,
    }


def _encoding(request: Request) -> str:
    encoding = request.get("ContentEncoding") or "Base64"
    if encoding not in ("PlainText", "Base64"):
        raise invalid_parameter("ContentEncoding", encoding, "PlainText or Base64")
    return encoding


def _shown(text: str, encoding: str) -> str:
    if encoding == "Base64":
        return text
    return base64.b64decode(text).decode(errors="replace")


def _result_view(record: Row, instance_id: str, result: Row, encoding: str) -> dict[str, Any]:
    view = {
        "InvokeId": record["InvokeId"],
        "CommandId": record["CommandId"],
        "InstanceId": instance_id,
        "Username": record["Username"],
        "Repeats": 0 if result["InvocationStatus"] == "Running" else 1,
        "TerminationMode": "Process",
        **{key: result[key] for key in ("StartTime", "FinishedTime", "StopTime", "Dropped")},
        **{key: result[key] for key in ("InvokeRecordStatus", "InvocationStatus")},
        **{key: result[key] for key in ("ErrorCode", "ErrorInfo")},
        "Output": _shown(result["Output"], encoding),
        "Tags": tag_list(record["Tags"]),
    }
    # A script that has not ended by itself has no exit code.
    return view if result["ExitCode"] is None else {**view, "ExitCode": result["ExitCode"]}


def _statuses(record: Row, key: str) -> set[str]:
    return {str(result[key]) for result in record["Instances"].values()}


def _invoke_status(record: Row) -> str:
    found = _statuses(record, "InvokeRecordStatus")
    for status in ("Running", "Stopped"):
        if status in found:
            return status
    return found.pop() if len(found) == 1 else "PartialFailed"


def _invocation_status(record: Row) -> str:
    found = _statuses(record, "InvocationStatus")
    if "Running" in found:
        return "Running"
    if found == {"Success"}:
        return "Success"
    if "Success" in found:
        return "PartialFailed"
    return "Stopped" if "Terminated" in found else "Failed"


def _invocation_view(record: Row, with_output: bool, encoding: str) -> dict[str, Any]:
    instances = []
    for instance_id, result in record["Instances"].items():
        view = _result_view(record, instance_id, result, encoding)
        view["InstanceInvokeStatus"] = view.pop("InvokeRecordStatus")
        view["FinishTime"] = view.pop("FinishedTime")
        view["CreationTime"] = record["CreationTime"]
        view["UpdateTime"] = result["FinishedTime"] or result["StartTime"]
        if not with_output:
            view["Output"] = ""
        instances.append(view)
    return {
        **{
            key: record[key]
            for key in (
                *("InvokeId", "CommandId", "CommandName", "CommandType", "WorkingDir"),
                *("Username", "Timeout", "CreationTime"),
            )
        },
        "CommandContent": _shown(record["CommandContent"], encoding),
        "CommandDescription": "",
        "Parameters": "{}",
        "RepeatMode": "Once",
        "Frequency": "",
        "Timed": False,
        "InvokeStatus": _invoke_status(record),
        "InvocationStatus": _invocation_status(record),
        "InvokeInstances": {"InvokeInstance": instances},
        "Tags": tag_list(record["Tags"]),
    }


def resume(cloud: Cloud) -> None:
    """Close the invocations whose process ended with the previous emulator."""
    for _, _, record in cloud.rows("invocations"):
        for result in record["Instances"].values():
            _finish(
                result,
                cloud,
                "Failed",
                "Failed",
                error=("ClientNotResponse", "The Cloud Assistant client does not respond."),
            )
