"""Requests gathered into batches, outside the event loop."""

from __future__ import annotations

import threading
import time

import anyio

from persona_lens.harnesses.batcher import Batcher


class Doubling:
    """Doubles numbers, slowly; negative ones are wrong by themselves, and 13 spoils the batch."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []
        self.at_work = 0
        self.most_at_work = 0

    def __call__(self, numbers, _given_up):
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        time.sleep(self.seconds)
        self.batches.append(list(numbers))
        self.at_work -= 1
        if 13 in numbers:
            raise RuntimeError("spoilt")
        return [ValueError(str(number)) if number < 0 else 2 * number for number in numbers]


async def ask_all(batcher: Batcher, numbers) -> dict[int, object]:
    found: dict[int, object] = {}

    async def ask(number: int) -> None:
        try:
            found[number] = await batcher.ask(number)
        except (ValueError, RuntimeError) as error:
            found[number] = error

    async with anyio.create_task_group() as group:
        for number in numbers:
            group.start_soon(ask, number)
    return found


def test_requests_of_one_moment_share_batches_and_each_gets_its_own_result():
    doubling = Doubling(0.05)
    found = anyio.run(ask_all, Batcher(doubling, most=4), range(10))
    assert found == {number: 2 * number for number in range(10)}
    assert [len(batch) for batch in doubling.batches] == [4, 4, 2]
    assert doubling.most_at_work == 1


def test_what_goes_wrong_with_one_request_is_its_own():
    found = anyio.run(ask_all, Batcher(Doubling(), most=8), [1, -1, 2])
    assert (found[1], found[2], str(found[-1])) == (2, 4, "-1")
    spoilt = anyio.run(ask_all, Batcher(Doubling(), most=8), [1, 13])
    assert [str(each) for each in spoilt.values()] == ["spoilt", "spoilt"]


def test_one_batcher_serves_one_event_loop_after_another_and_its_thread_ends():
    batcher = Batcher(Doubling(), most=2)
    before = threading.active_count()
    for number in (3, 4):
        assert anyio.run(ask_all, batcher, [number]) == {number: 2 * number}
    time.sleep(0.2)
    assert threading.active_count() <= before


def test_the_event_loop_runs_on_while_a_batch_is_answered():
    async def ticking() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await anyio.sleep(0.01)
                ticks += 1

        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            await Batcher(Doubling(0.4), most=1).ask(1)
            group.cancel_scope.cancel()
        return ticks

    assert anyio.run(ticking) > 5


def test_who_gives_up_is_not_waited_for_and_the_others_get_theirs():
    doubling = Doubling(0.3)
    batcher = Batcher(doubling, most=1)

    async def impatient() -> tuple[bool, object]:
        found = {}

        async def patient() -> None:
            found["first"] = await batcher.ask(1)

        async with anyio.create_task_group() as group:
            group.start_soon(patient)
            await anyio.sleep(0.1)  # the first is being answered, so that the second has to wait
            with anyio.move_on_after(0.05) as scope:
                await batcher.ask(2)
        return scope.cancelled_caught, found["first"]

    assert anyio.run(impatient) == (True, 2)
    assert anyio.run(ask_all, batcher, [3]) == {3: 6}
    assert doubling.batches == [[1], [3]]


def test_a_batch_learns_that_nobody_waits_for_it():
    learnt = threading.Event()

    def endless(numbers, given_up):
        while not given_up():
            time.sleep(0.01)
        learnt.set()
        return numbers

    async def leave() -> None:
        batcher = Batcher(endless, most=2)
        async with anyio.create_task_group() as group:
            for number in (1, 2):
                group.start_soon(batcher.ask, number)
            await anyio.sleep(0.1)
            assert not learnt.is_set()
            group.cancel_scope.cancel()

    anyio.run(leave)
    assert learnt.wait(2)


def test_more_requests_may_wait_than_there_are_threads_for_work():
    count = 90

    async def both() -> tuple[int, int]:
        async with anyio.create_task_group() as group:
            found = {}

            async def ask() -> None:
                found.update(await ask_all(Batcher(Doubling(0.3), most=count), range(count)))

            group.start_soon(ask)
            await anyio.sleep(0.1)
            with anyio.fail_after(0.15):  # somebody else's work is not held up
                other = await anyio.to_thread.run_sync(lambda: 7)
        return other, len(found)

    assert anyio.run(both) == (7, count)
