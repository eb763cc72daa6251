"""Cloud Assistant: what a script printed reaches the user, whatever happens on the way."""

import base64
from typing import Any

import pytest

from infra import assistant
from infra.dynamic.readiness import script


class RefusedError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Api:
    """Answers from a list; a listed exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, dict[str, str]]] = []

    def __call__(self, action: str, parameters: dict[str, str]) -> dict[str, Any]:
        self.calls.append((action, parameters))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def record(
    status: str, invocation: str, code: int | None = None, output: str = "", error: str = ""
) -> Any:
    row = {
        "InvokeRecordStatus": status,
        "InvocationStatus": invocation,
        "ExitCode": code,
        "Output": base64.b64encode(output.encode()).decode(),
        "ErrorCode": error,
        "ErrorInfo": f"what {error} means" if error else "",
    }
    return {"Invocation": {"InvocationResults": {"InvocationResult": [row]}}}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def run(api: Api, timeout: int = 60) -> assistant.Result:
    clock = Clock()
    return assistant.run(
        api, "i-1", "echo hello", timeout_seconds=timeout, clock=clock, pause=clock.pause
    )


def test_the_output_and_exit_code_come_back() -> None:
    api = Api(
        {"InvokeId": "t-1"},
        record("Running", "Running"),
        record("Finished", "Failed", 3, "unit vace-gateway failed\n", "ExitCodeNonzero"),
    )
    assert run(api) == assistant.Result(3, "unit vace-gateway failed\n")
    sent = api.calls[0][1]
    assert base64.b64decode(sent["CommandContent"]) == b"echo hello"


def test_an_agent_that_is_not_up_yet_is_waited_for() -> None:
    """Prevents a failed first `up` because the machine was still booting."""
    api = Api(
        RefusedError("ClientNotRunning"), {"InvokeId": "t-1"}, record("Finished", "Success", 0)
    )
    assert run(api).exit_code == 0


def test_an_agent_that_never_comes_up_is_reported() -> None:
    with pytest.raises(assistant.AssistantError, match="did not come up"):
        run(Api(RefusedError("ClientNotRunning")))


def test_a_refusal_names_the_missing_permissions() -> None:
    with pytest.raises(assistant.AssistantError, match="ecs:RunCommand"):
        run(Api(RefusedError("Forbidden.RAM")))


def test_a_script_that_runs_too_long_is_reported_with_its_output() -> None:
    api = Api({"InvokeId": "t-1"}, record("Finished", "Timeout", None, "pulling image"))
    with pytest.raises(assistant.AssistantError, match=r"(?s)Timeout.*pulling image"):
        run(api)


@pytest.mark.parametrize(
    "error",
    [
        "ClientNotRunning",
        "ClientNotResponse",
        "ClientIsUpgrading",
        "DeliveryTimeout",
        "InstanceNotRunning",
    ],
)
def test_a_script_that_was_not_delivered_is_sent_again(error: str) -> None:
    """The real API accepts the call of a machine that boots, and says so only in the record."""
    api = Api(
        {"InvokeId": "t-1"},
        record("Failed", "Failed", None, "", error),
        {"InvokeId": "t-2"},
        record("Finished", "Success", 0, "ready"),
    )
    assert run(api) == assistant.Result(0, "ready")
    tokens = [sent["ClientToken"] for action, sent in api.calls if action == "RunCommand"]
    assert len(set(tokens)) == 2, "the same token would bring back the failed record"


def test_a_script_that_is_never_delivered_is_reported_with_the_cause() -> None:
    class NeverUp(Api):
        def __call__(self, action: str, parameters: dict[str, str]) -> dict[str, Any]:
            super().__call__(action, parameters)
            if action == "RunCommand":
                return {"InvokeId": "t-1"}
            return dict(record("Failed", "Failed", None, "", "ClientNotRunning"))

    with pytest.raises(assistant.AssistantError, match=r"did not come up.*what ClientNotRunning"):
        run(NeverUp({}))


@pytest.mark.parametrize(
    ("status", "invocation", "exit_code", "error"),
    [
        ("Failed", "Failed", None, "ExecutionException"),
        ("Failed", "Failed", None, "DirectoryNotExists"),
        ("Failed", "Error", None, "ExecutionInterrupted"),
        ("Failed", "Invalid", None, "SystemTypeNotMatch"),
        ("Failed", "Aborted", None, "InstanceReleased"),
        ("Failed", "Timeout", None, "ExecutionTimeout"),
        ("Stopped", "Terminated", None, ""),
        ("Stopped", "Cancelled", None, ""),
        ("Finished", "Failed", 0, ""),
        ("Finished", "SomethingNew", 0, ""),
    ],
)
def test_only_success_is_a_success(
    status: str, invocation: str, exit_code: int | None, error: str
) -> None:
    """Prevents an `up` that calls a node ready on which nothing has run."""
    api = Api({"InvokeId": "t-1"}, record(status, invocation, exit_code, "half of it", error))
    with pytest.raises(assistant.AssistantError, match=f"(?s)ended as {invocation}") as caught:
        run(api)
    assert (f"{error}: what {error} means" if error else "no code") in str(caught.value)
    assert "half of it" in str(caught.value)


def test_failures_that_pass_do_not_end_the_wait() -> None:
    """Half an hour of polling meets a throttled answer sooner or later."""
    api = Api(
        RefusedError("ServiceUnavailable"),
        {"InvokeId": "t-1"},
        RefusedError("Throttling.User"),
        record("Running", "Running"),
        ConnectionResetError("cut"),
        record("Finished", "Success", 0),
    )
    assert run(api).exit_code == 0
    tokens = {sent["ClientToken"] for action, sent in api.calls if action == "RunCommand"}
    assert len(tokens) == 1, "a lost answer must not run the script twice"


def test_a_failure_that_does_not_pass_is_the_last_word_of_the_report() -> None:
    api = Api({"InvokeId": "t-1"}, RefusedError("Throttling.User"))
    with pytest.raises(assistant.AssistantError, match=r"not ended.*Throttling\.User"):
        run(api)


def test_a_result_that_may_not_be_read_is_reported_at_once() -> None:
    api = Api({"InvokeId": "t-1"}, RefusedError("Forbidden.RAM"))
    with pytest.raises(assistant.AssistantError, match="ecs:DescribeInvocationResults"):
        run(api)
    assert len(api.calls) == 2


def test_a_record_that_never_ends_is_reported() -> None:
    with pytest.raises(assistant.AssistantError, match=r"has not ended.*Running"):
        run(Api({"InvokeId": "t-1"}, record("Running", "Running")))


def test_the_readiness_script_is_small_and_says_when_user_data_was_lost() -> None:
    """Cloud Assistant takes 24 KB after base64; a lost boot must not look like a hang."""
    text = script(2400)
    assert len(base64.b64encode(text.encode())) < 24_000
    assert "cloud-init must be 23.2.2 or newer" in text
