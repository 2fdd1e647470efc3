"""Progress: time left by what is measured, a bar in a terminal, lines in a log file."""

from __future__ import annotations

import io
import re
import threading

import pytest
from rich.console import Console

from persona_lens.progress import Pace, StageProgress
from persona_lens.runs.collection_progress import CollectionProgress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Lines(io.StringIO):
    """A log file that says when a line has come."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        length = super().write(text)
        if "\n" in text:
            self.written.set()
        return length


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(window=120.0, clock=clock)


def test_nothing_is_promised_before_the_first_step(pace: Pace) -> None:
    assert pace.left(10) is None
    pace.note(0)
    assert pace.left(10) is None


def test_what_was_there_before_does_not_count_as_speed(pace: Pace, clock: Clock) -> None:
    pace.note(900)
    clock.now = 10.0
    pace.note(905)
    assert pace.left(95) == pytest.approx(190.0)


def test_steps_longer_than_the_window_still_give_a_time(pace: Pace, clock: Clock) -> None:
    for done in range(0, 600, 64):
        pace.note(done)
        clock.now += 1000.0
    clock.now -= 1000.0
    assert pace.left(640) == pytest.approx(10_000.0)


def test_a_machine_that_slows_down_is_followed_within_the_window(pace: Pace, clock: Clock) -> None:
    for done in range(100):  # a second each
        pace.note(done)
        clock.now += 1.0
    for done in range(100, 140):  # ten seconds each
        pace.note(done)
        clock.now += 10.0
    clock.now -= 10.0
    assert pace.left(10) == pytest.approx(100.0, rel=0.15)


def test_time_left_grows_while_nothing_gets_done(pace: Pace, clock: Clock) -> None:
    pace.note(0)
    clock.now = 10.0
    pace.note(10)
    before = pace.left(10)
    clock.now = 100.0
    after = pace.left(10)
    assert before == pytest.approx(10.0)
    assert after == pytest.approx(100.0)


def test_a_log_file_gets_a_line_while_the_work_is_still_going_on() -> None:
    file = Lines()
    console = Console(file=file, force_terminal=False, width=40)
    bar = StageProgress(
        "Judging", 300, shown=True, console=console, seconds_between_lines=0.01, unit="layers"
    )
    with bar.running(100):
        bar.advance(50)
        file.written.clear()
        assert file.written.wait(timeout=60)
        said = file.getvalue().splitlines()
    assert re.fullmatch(r"Judging: 150 of 300 layers, \d+ s gone, \d+ s left", said[-1])


def test_a_log_file_gets_a_last_line_and_then_silence() -> None:
    file = Lines()
    bar = StageProgress("Judging", 2, shown=True, console=Console(file=file, force_terminal=False))
    with bar.running():
        list(bar.counted("ab"))
    assert file.getvalue().startswith("Judging: 2 of 2 replies, ")
    assert len(file.getvalue().splitlines()) == 1


def test_a_terminal_gets_a_bar_and_no_lines() -> None:
    file = Lines()
    console = Console(file=file, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    bar = StageProgress("Judging", 2, shown=True, console=console, seconds_between_lines=0.001)
    with bar.running():
        bar.advance(2)
    assert "2/2" in file.getvalue()
    assert "Judging: 2 of 2" not in file.getvalue()


def test_a_collection_counts_stored_and_sampled_replies_and_its_tokens() -> None:
    bar = CollectionProgress(total=100, shown=False)
    with bar.running(done=10):
        bar.advance_tokens(64, 4096)
        assert bar.done == 74
        bar.advance_replies(24)
        assert bar.done == 34
    assert bar.elapsed >= 0
