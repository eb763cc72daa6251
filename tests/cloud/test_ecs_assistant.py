"""Cloud Assistant: commands run in machines, and their results."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from alibabacloud_ecs20140526 import models as ecs

from rehearsal.cloud.hypervisor import CommandResult

from .ecs_world import REGION, World, encoded, refused, wait_for


@dataclass(frozen=True)
class Ran:
    """One command as a hypervisor was asked to run it."""

    instance_id: str
    command: bytes
    interpreter: str
    working_dir: str
    timeout_s: int
    user: str


class Recorder:
    """Takes the place of the hypervisor's run_command: records, and answers what a test says."""

    def __init__(self) -> None:
        self.ran: list[Ran] = []
        self.answer = CommandResult(0, b"done\n", False)
        self.gate: threading.Event | None = None

    def __call__(self, instance_id: str, command: bytes, **how: Any) -> CommandResult:
        self.ran.append(Ran(instance_id, command, **how))
        if self.gate is not None:
            assert self.gate.wait(10), "the test never opened the gate"
        return self.answer


@pytest.fixture
def recorder(cloud: Any, monkeypatch: Any) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(cloud.hypervisor, "run_command", recorder)
    return recorder


@pytest.fixture
def world(cloud: Any, recorder: Recorder) -> World:
    return World(cloud)


def run(world: World, *instances: str, content: str = "uptime\n", **fields: Any) -> Any:
    request = ecs.RunCommandRequest(
        **{
            "region_id": REGION,
            "type": "RunShellScript",
            "command_content": content,
            "instance_id": list(instances),
            **fields,
        }
    )
    return world.ecs.run_command(request).body


def results(world: World, invoke_id: str, **fields: Any) -> list[Any]:
    body = world.ecs.describe_invocation_results(
        ecs.DescribeInvocationResultsRequest(region_id=REGION, invoke_id=invoke_id, **fields)
    ).body
    return list(body.invocation.invocation_results.invocation_result)


def finished(world: World, invoke_id: str) -> Any:
    """The result of an invocation on one instance, once it is there."""
    wait_for(lambda: results(world, invoke_id)[0].invocation_status != "Running")
    return results(world, invoke_id)[0]


def test_a_command_runs_as_root_with_the_defaults_of_the_api(
    world: World, recorder: Recorder
) -> None:
    """The default timeout is 60 s: a readiness gate that forgets it is cut off for real."""
    instance_id = world.launch()
    result = finished(world, run(world, instance_id).invoke_id)
    assert recorder.ran == [Ran(instance_id, b"uptime\n", "/bin/sh", "/root", 60, "root")]
    assert (result.invoke_record_status, result.invocation_status) == ("Finished", "Success")
    assert (result.exit_code, result.dropped) == (0, 0)
    assert base64.b64decode(result.output) == b"done\n"


def test_a_running_command_has_no_exit_code_yet(world: World, recorder: Recorder) -> None:
    """RunCommand answers at once; a client must poll, not read a zero."""
    recorder.gate = threading.Event()
    instance_id = world.launch()
    invoke_id = run(world, instance_id).invoke_id
    result = results(world, invoke_id)[0]
    assert (result.invoke_record_status, result.invocation_status) == ("Running", "Running")
    assert (result.exit_code, result.output) == (None, "")
    recorder.gate.set()
    assert finished(world, invoke_id).exit_code == 0


@pytest.mark.parametrize(
    ("answer", "record", "status", "code", "error"),
    [
        (CommandResult(3, b"no", False), "Finished", "Failed", 3, ""),
        (CommandResult(124, b"", True), "Failed", "Timeout", None, "ExecutionTimeout"),
    ],
)
def test_failures_are_told_apart(  # noqa: PLR0917 - one row of the table above
    world: World,
    recorder: Recorder,
    answer: CommandResult,
    record: str,
    status: str,
    code: int | None,
    error: str,
) -> None:
    """A script that failed has finished; a script that took too long has not."""
    recorder.answer = answer
    result = finished(world, run(world, world.launch()).invoke_id)
    assert (result.invoke_record_status, result.invocation_status) == (record, status)
    assert (result.exit_code, result.error_code) == (code, error)


def test_base64_shebang_user_and_directory_are_honoured(world: World, recorder: Recorder) -> None:
    """A Python script must not be run by sh."""
    script = "#!/usr/bin/env python3\nprint(1)\n"
    instance_id = world.launch()
    invoke_id = run(
        world,
        instance_id,
        content=encoded(script),
        content_encoding="Base64",
        working_dir="/data",
        username="vace",
        timeout=900,
    ).invoke_id
    finished(world, invoke_id)
    assert recorder.ran == [
        Ran(instance_id, script.encode(), "/usr/bin/env python3", "/data", 900, "vace")
    ]


def test_output_is_cut_at_24_kb_and_says_so(world: World, recorder: Recorder) -> None:
    """A client must not take a cut log for a whole one."""
    recorder.answer = CommandResult(0, b"x" * 30000, False)
    result = finished(world, run(world, world.launch()).invoke_id)
    assert len(base64.b64decode(result.output)) == 24 * 1024
    assert result.dropped == 30000 - 24 * 1024


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"content": "x" * 18433}, "CmdContent.ExceedLimit",
         "The maximum length of a command is exceeded."),
        ({"content": "%%%", "content_encoding": "Base64"}, "CmdContent.DecodeError",
         "can not be base64 decoded"),
        ({"type": "RunBatScript"}, "InvalidInstance.NotMatch", "does not match the command"),
        ({"type": "RunRubyScript"}, "InvalidCmdType.NotFound", "RunShellScript"),
        ({"timeout": 5}, "InvalidParameter.Timeout", "10 to 86400 seconds"),
        ({"working_dir": "data"}, "InvalidParameter.WorkingDir", "an absolute path"),
        ({"parameters": {"a": "b"}}, "Parameter.Disabled", "customization function is disabled"),
        ({"instance_id": ["i-none"]}, "InvalidInstance.NotFound",
         "The specified instance does not exist."),
        ({"instance_id": []}, "MissingParam.InstanceId", "missing or empty"),
        ({"repeat_mode": "Period", "frequency": "0 */5 * * * *"}, "UnsupportedParameter",
         "Frequency"),
    ],
)  # fmt: skip
def test_a_wrong_command_is_refused(
    cloud: Any, world: World, fields: dict[str, Any], code: str, words: str
) -> None:
    """The limits of the real API, with its codes."""
    instance_id = world.launch()
    with refused(code, words):
        run(world, instance_id, **fields)


def test_the_largest_command_is_taken(world: World, recorder: Recorder) -> None:
    """18 KiB of text are exactly 24 KiB of Base64."""
    finished(world, run(world, world.launch(), content="x" * 18432).invoke_id)
    assert len(recorder.ran[0].command) == 18432


def test_custom_parameters_replace_their_places(world: World, recorder: Recorder) -> None:
    """Wanted and given parameters must be the same."""
    instance_id = world.launch()
    fields = {"content": "echo {{ name }} {{n}}\n", "enable_parameter": True}
    finished(
        world, run(world, instance_id, parameters={"name": "vace", "n": "1"}, **fields).invoke_id
    )
    assert recorder.ran[0].command == b"echo vace 1\n"
    with refused("Parameter.NotMatched", "Wanted: n, name", status=403):
        run(world, instance_id, parameters={"name": "vace"}, **fields)


def test_a_stopped_instance_gives_a_failed_result_and_not_an_error(
    world: World, recorder: Recorder
) -> None:
    """The real API accepts the call; only the result tells."""
    instance_id = world.launch()
    world.stop(instance_id)
    result = finished(world, run(world, instance_id).invoke_id)
    assert (result.invocation_status, result.error_code) == ("Failed", "InstanceNotRunning")
    assert recorder.ran == []


def test_a_machine_without_an_agent_gives_a_failed_result(
    cloud: Any, world: World, monkeypatch: Any
) -> None:
    """An error of the machine room must end the invocation, not leave it running."""

    def broken(instance_id: str, command: bytes, **how: Any) -> CommandResult:
        raise RuntimeError(f"{instance_id} does not answer")

    monkeypatch.setattr(cloud.hypervisor, "run_command", broken)
    result = finished(world, run(world, world.launch()).invoke_id)
    assert (result.invoke_record_status, result.error_code) == ("Failed", "ClientNotRunning")
    assert "does not answer" in result.error_info


def test_invocations_are_listed_with_their_instances(world: World, recorder: Recorder) -> None:
    """One command in two instances is one invocation with two results."""
    one, two = world.launch(), world.launch()
    world.stop(two)
    answer = run(world, one, two, name="probe")
    wait_for(
        lambda: all(r.invocation_status != "Running" for r in results(world, answer.invoke_id))
    )
    body = world.ecs.describe_invocations(
        ecs.DescribeInvocationsRequest(
            region_id=REGION, invoke_id=answer.invoke_id, include_output=True
        )
    ).body
    found = body.invocations.invocation[0]
    assert (found.command_name, found.invocation_status, found.invoke_status) == (
        "probe",
        "PartialFailed",
        "PartialFailed",
    )
    outputs = {i.instance_id: i.output for i in found.invoke_instances.invoke_instance}
    assert outputs == {one: encoded("done\n"), two: ""}
    plain = results(world, answer.invoke_id, instance_id=one, content_encoding="PlainText")
    assert [r.output for r in plain] == ["done\n"]


def test_an_invocation_can_be_stopped(world: World, recorder: Recorder) -> None:
    """After StopInvocation the late result of the script changes nothing."""
    recorder.gate = threading.Event()
    invoke_id = run(world, world.launch()).invoke_id
    world.ecs.stop_invocation(ecs.StopInvocationRequest(region_id=REGION, invoke_id=invoke_id))
    recorder.gate.set()
    result = results(world, invoke_id)[0]
    assert (result.invoke_record_status, result.invocation_status) == ("Stopped", "Terminated")
    with refused("InvalidInvokeId.NotFound", "does not exist", status=404):
        world.ecs.stop_invocation(ecs.StopInvocationRequest(region_id=REGION, invoke_id="t-none"))


def test_saved_commands_can_be_invoked_and_deleted(world: World, recorder: Recorder) -> None:
    """CreateCommand takes Base64 unless told otherwise; RunCommand keeps nothing unasked."""
    instance_id = world.launch()
    command_id = world.ecs.create_command(
        ecs.CreateCommandRequest(
            region_id=REGION,
            name="hello",
            type="RunShellScript",
            command_content=encoded("echo hello\n"),
            timeout=120,
        )
    ).body.command_id
    run(world, instance_id)
    kept = run(world, instance_id, keep_command=True, name="kept").command_id
    listed = world.ecs.describe_commands(
        ecs.DescribeCommandsRequest(region_id=REGION)
    ).body.commands.command
    assert [(c.command_id, c.name) for c in listed] == [(command_id, "hello"), (kept, "kept")]
    invoke_id = world.ecs.invoke_command(
        ecs.InvokeCommandRequest(region_id=REGION, command_id=command_id, instance_id=[instance_id])
    ).body.invoke_id
    finished(world, invoke_id)
    assert Ran(instance_id, b"echo hello\n", "/bin/sh", "/root", 120, "root") in recorder.ran
    world.ecs.delete_command(ecs.DeleteCommandRequest(region_id=REGION, command_id=command_id))
    with refused("InvalidCmdId.NotFound", "command ID does not exist", status=404):
        world.ecs.invoke_command(
            ecs.InvokeCommandRequest(
                region_id=REGION, command_id=command_id, instance_id=[instance_id]
            )
        )


def test_the_agent_answers_while_the_instance_runs(world: World) -> None:
    """A readiness gate asks for this before it sends a command."""
    instance_id = world.launch()

    def status() -> str:
        body = world.ecs.describe_cloud_assistant_status(
            ecs.DescribeCloudAssistantStatusRequest(region_id=REGION, instance_id=[instance_id])
        ).body
        found = body.instance_cloud_assistant_status_set.instance_cloud_assistant_status
        return str(found[0].cloud_assistant_status)

    assert status() == "true"
    world.stop(instance_id)
    assert status() == "false"


def test_a_command_that_lost_its_process_is_closed(cloud: Any, world: World) -> None:
    """After a restart nobody would ever finish it; a client must not wait for ever."""
    instance_id = world.launch()
    invoke_id = run(world, instance_id).invoke_id
    finished(world, invoke_id)
    account = cloud.cloud.settings.account
    row = cloud.cloud.region(account, REGION).table("invocations")[invoke_id]
    row["Instances"][instance_id].update(
        {"InvokeRecordStatus": "Running", "InvocationStatus": "Running", "ExitCode": None}
    )
    cloud.restart()
    world.ecs = cloud.client("ecs")
    result = results(world, invoke_id)[0]
    assert (result.invocation_status, result.error_code) == ("Failed", "ClientNotResponse")
