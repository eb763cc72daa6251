"""Rotation raises the generation and applies it; a refused config change stops it."""

import subprocess

from infra.rotate import rotate


class Runner:
    def __init__(self, *statuses: tuple[int, str]) -> None:
        self.statuses = list(statuses)
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        self.commands.append(command)
        code, text = self.statuses.pop(0)
        return subprocess.CompletedProcess(command, code, text, "")


def test_rotation_raises_the_generation_and_applies_it() -> None:
    run = Runner((0, "4\n"), (0, ""), (0, ""))
    assert rotate("token", ["--stack", "dev"], run) == 0
    assert run.commands[1] == ["pulumi", "config", "set", "tokenGeneration", "5", "--stack", "dev"]
    assert run.commands[2][:3] == ["pulumi", "up", "--yes"]


def test_a_key_that_was_never_set_counts_as_generation_one() -> None:
    run = Runner((1, ""), (0, ""), (0, ""))
    rotate("tls", [], run)
    assert run.commands[1] == ["pulumi", "config", "set", "tlsGeneration", "2"]


def test_nothing_is_applied_when_the_config_cannot_be_set() -> None:
    run = Runner((0, "1"), (255, ""))
    assert rotate("token", [], run) == 255
    assert len(run.commands) == 2
