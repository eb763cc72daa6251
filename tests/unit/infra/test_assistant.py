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


def record(status: str, invocation: str, code: int | None = None, output: str = "") -> Any:
    row = {
        "InvokeRecordStatus": status,
        "InvocationStatus": invocation,
        "ExitCode": code,
        "Output": base64.b64encode(output.encode()).decode(),
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
        record("Finished", "Failed", 3, "unit vace-gateway failed\n"),
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


def test_a_record_that_never_ends_is_reported() -> None:
    with pytest.raises(assistant.AssistantError, match="still Running"):
        run(Api({"InvokeId": "t-1"}, record("Running", "Running")))


def test_the_readiness_script_is_small_and_says_when_user_data_was_lost() -> None:
    """Cloud Assistant takes 24 KB after base64; a lost boot must not look like a hang."""
    text = script(2400)
    assert len(base64.b64encode(text.encode())) < 24_000
    assert "cloud-init must be 23.2.2 or newer" in text
