"""What a waiting person reads."""

import io

import pytest

from rehearsal.toolchain.progress import Progress, status_text


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("elapsed", "typical", "position", "expected"),
    [
        (63, 195, "1 of 2", "building pulumi: 63 of ~195 s, 1 of 2"),
        (63, 195, "", "building pulumi: 63 of ~195 s"),
        (230, 195, "2 of 2", "building pulumi: 230 s, longer than the usual 195 s, 2 of 2"),
        (7, None, "", "building pulumi: 7 s"),
    ],
)
def test_a_status_says_how_long_and_how_long_usually(
    elapsed: float, typical: float | None, position: str, expected: str
) -> None:
    """Prevents "300 of ~195 s", which reads like a mistake."""
    assert status_text("building pulumi", elapsed, typical, position) == expected


def test_nothing_is_shown_for_a_step_under_two_seconds() -> None:
    """Prevents noise from a run that has nothing to do."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, live=False, clock=clock)
    with progress.step("looking"):
        clock.now += 1.9
        progress.show()
    assert stream.getvalue() == ""


def test_a_log_gets_a_line_every_fifteen_seconds() -> None:
    """Prevents both a silent log and one with a line a second."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, live=False, clock=clock)
    with progress.step("building", typical=60):
        for _ in range(40):
            clock.now += 1
            progress.show()
    assert stream.getvalue().splitlines() == [
        "building: 2 of ~60 s",
        "building: 17 of ~60 s",
        "building: 32 of ~60 s",
    ]


def test_a_terminal_has_one_line_that_is_updated_and_removed() -> None:
    """Prevents a screen full of old progress, and messages glued to it."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, live=True, clock=clock)
    with progress.step("building"):
        clock.now += 3
        progress.show()
        clock.now += 1
        progress.show()
        progress.say("pulumi: built")
    assert stream.getvalue() == (
        "\r\x1b[Kbuilding: 3 s\r\x1b[Kbuilding: 4 s\r\x1b[Kpulumi: built\n"
    )


def test_steps_that_run_at_once_share_the_line() -> None:
    """Prevents two builds from overwriting each other's progress."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, live=False, clock=clock)
    with progress.step("building a", position="1 of 2"), progress.step("building b"):
        clock.now += 5
        progress.show()
    assert stream.getvalue() == "building a: 5 s, 1 of 2; building b: 5 s\n"
