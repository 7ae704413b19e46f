"""The stepping thread on engines without a model: every request ends, whatever the engine does."""

import asyncio
import os
import threading
import time
from types import SimpleNamespace

import pytest

from replication.collect.engines.vllm.affinity import OneCore
from replication.collect.engines.vllm.stepping import Stepper
from replication.errors import EngineError, RequestRefused

LIMIT_S = 10.0
"""A request that has not ended by then waits for ever."""


class FakeEngine:
    """Answers each request in the step after it was added; `on_step` may raise, wait or return other outputs."""

    def __init__(self, on_step=None):
        self.open, self.aborted, self.n_steps, self._on_step = [], [], 0, on_step

    def add(self, request_id):
        self.open.append(request_id)

    def abort_request(self, request_ids):
        self.aborted += request_ids
        self.open = [one for one in self.open if one not in request_ids]

    def has_unfinished_requests(self):
        return bool(self.open)

    def step(self):
        self.n_steps += 1
        if self._on_step is not None:
            self._on_step(self)
        done, self.open = self.open, []
        return [SimpleNamespace(request_id=one, finished=True) for one in done]


def stepper(engine, stall_s=60.0):
    return Stepper(engine, refusals=(ValueError,), stall_s=stall_s)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, LIMIT_S))


async def outcomes(stepping, adds):
    """Submit all at once; returns outputs and errors in order."""
    return await asyncio.gather(*(stepping.submit(add) for add in adds), return_exceptions=True)


def refuse(error):
    def add(request_id):
        raise error

    return add


def test_every_request_gets_its_own_output():
    engine = FakeEngine()
    stepping = stepper(engine)
    outputs = run(outcomes(stepping, [engine.add] * 20))
    assert sorted(int(output.request_id) for output in outputs) == list(range(20))
    assert not stepping.busy and stepping.failure is None
    stepping.close()


@pytest.mark.parametrize("error", [RuntimeError("out of memory\nmore"), SystemExit(3)])
def test_an_engine_that_dies_fails_all_requests_and_all_later_ones(error):
    def die(engine):
        raise error

    engine = FakeEngine(die)
    stepping = stepper(engine)
    failed = run(outcomes(stepping, [engine.add] * 3))
    assert [type(one) for one in failed] == [EngineError] * 3
    assert str(failed[0]).startswith(f"vLLM failed while generating: {type(error).__name__}")
    with pytest.raises(EngineError, match="vLLM failed while generating"):
        run(stepping.submit(engine.add))
    assert engine.n_steps == 1
    stepping.close()


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.001, 0.002, 0.005])
def test_requests_that_arrive_while_the_engine_dies_do_not_wait_for_ever(delay):
    # Requests are queued before, during and after the end of the thread.
    def die(engine):
        time.sleep(delay)
        raise RuntimeError("gone")

    engine = FakeEngine(die)
    stepping = stepper(engine)

    async def one(i):
        await asyncio.sleep(i * 0.0001)
        await stepping.submit(engine.add)

    async def many():
        return await asyncio.gather(*(one(i) for i in range(60)), return_exceptions=True)

    assert {type(one) for one in run(many())} == {EngineError}
    stepping.close()


def test_a_refused_request_fails_alone_and_is_told_from_an_error_that_may_pass():
    engine = FakeEngine()
    stepping = stepper(engine)
    adds = [engine.add, refuse(ValueError("the prompt is empty")), refuse(OSError("no socket")), engine.add]
    first, refused, passing, last = run(outcomes(stepping, adds))
    assert (first.request_id, last.request_id) == ("0", "3")
    assert type(refused) is RequestRefused and str(refused) == "vLLM refused a request: ValueError: the prompt is empty"
    assert type(passing) is EngineError and "no socket" in str(passing)
    assert engine.aborted == ["1", "2"] and stepping.failure is None
    assert run(stepping.submit(engine.add)).request_id == "4"
    stepping.close()


def test_an_engine_that_hangs_counts_as_failed_after_the_time_limit():
    release = threading.Event()
    engine = FakeEngine(lambda _: release.wait())
    stepping = stepper(engine, stall_s=0.3)
    started = time.monotonic()
    failed = run(outcomes(stepping, [engine.add] * 3))
    assert [type(one) for one in failed] == [EngineError] * 3 and "no step for 0.3 s" in str(failed[0])
    assert 0.3 <= time.monotonic() - started < 5
    with pytest.raises(EngineError, match="no step"):
        run(stepping.submit(engine.add))
    stepping.close()  # does not wait for the thread that hangs
    release.set()


def test_a_slow_engine_that_makes_steps_is_not_taken_for_one_that_hangs():
    def slow(engine):
        time.sleep(0.1)
        if engine.n_steps < 8:
            kept, engine.open = engine.open, []
            engine.later = getattr(engine, "later", []) + kept
        else:
            engine.open = engine.later

    engine = FakeEngine(slow)
    engine.has_unfinished_requests = lambda: True
    stepping = stepper(engine, stall_s=0.4)
    assert run(stepping.submit(engine.add)).request_id == "0" and engine.n_steps == 8
    stepping.close()


def test_time_in_which_the_engine_is_idle_is_no_stall():
    engine = FakeEngine()
    stepping = stepper(engine, stall_s=0.2)
    run(stepping.submit(engine.add))
    time.sleep(0.5)
    assert run(stepping.submit(engine.add)).request_id == "1"
    stepping.close()


def test_a_request_that_the_engine_lost_fails():
    engine = FakeEngine(lambda engine: engine.open.clear())
    stepping = stepper(engine)
    with pytest.raises(EngineError, match="no open request left"):
        run(stepping.submit(engine.add))
    stepping.close()


def test_closing_settles_requests_that_wait():
    release = threading.Event()
    engine = FakeEngine(lambda _: release.wait(LIMIT_S))
    stepping = stepper(engine)

    async def main():
        waiting = [asyncio.ensure_future(stepping.submit(engine.add)) for _ in range(3)]
        while not engine.n_steps:
            await asyncio.sleep(0.01)
        waiting.append(asyncio.ensure_future(stepping.submit(engine.add)))  # arrives during the step
        await asyncio.sleep(0.01)
        closing = threading.Thread(target=stepping.close)
        closing.start()
        release.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.to_thread(closing.join)
        return results

    *_, last = run(main())
    assert isinstance(last, EngineError) and "closed before it answered" in str(last)
    with pytest.raises(EngineError, match="closed"):
        run(stepping.submit(engine.add))


def test_a_cancelled_request_leaves_the_batch_and_stops_no_other():
    # As after a time limit: nothing awaits the reply any more.
    release = threading.Event()

    def on_step(engine):
        if engine.n_steps == 1:
            release.wait(LIMIT_S)
            engine.kept, engine.open = engine.open, []
        elif engine.n_steps == 2:
            engine.open = [one for one in engine.kept if one not in engine.aborted]

    engine = FakeEngine(on_step)
    engine.has_unfinished_requests = lambda: True
    stepping = stepper(engine)

    async def main():
        first, second = (asyncio.ensure_future(stepping.submit(engine.add)) for _ in range(2))
        while not engine.n_steps:
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        release.set()
        return await asyncio.gather(first, second, return_exceptions=True)

    cancelled, output = run(main())
    assert isinstance(cancelled, asyncio.CancelledError) and output.request_id == "1"
    assert engine.aborted == ["0"] and not stepping.busy and stepping.failure is None
    stepping.close()


def test_all_outputs_of_a_step_wake_the_loop_once():
    engine = FakeEngine()
    stepping = stepper(engine)

    async def main():
        loop, wakes = asyncio.get_running_loop(), []
        inner = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args: (wakes.append(args), inner(*args))[1]
        with stepping._wake:  # the thread waits for this lock, so that all arrive before its step
            waiting = [asyncio.ensure_future(stepping.submit(engine.add)) for _ in range(50)]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        return len(wakes)

    assert run(main()) == engine.n_steps == 1
    stepping.close()


def test_the_thread_is_entered_before_its_first_step():
    entered, engine = [], FakeEngine()
    engine.add_in = lambda request_id: (entered.append("add"), engine.add(request_id))
    stepping = Stepper(engine, refusals=(), stall_s=60.0, enter=lambda: entered.append(threading.current_thread().name))
    run(stepping.submit(engine.add_in))
    assert entered == ["vllm-steps", "add"]
    stepping.close()


places_threads = pytest.mark.skipif(
    not OneCore.is_possible() or len(os.sched_getaffinity(0)) < 2, reason="there is one core, or no choice of it"
)


class LongEngine(FakeEngine):
    """Answers in its step 130, or hangs in it, and notes on which cores the two threads may run."""

    def __init__(self, wait=lambda: None):
        super().__init__()
        self.cores, self._partner, self._wait = [], threading.get_native_id(), wait

    def step(self):
        self.cores.append((os.sched_getaffinity(0), os.sched_getaffinity(self._partner)))
        if len(self.cores) < 130:
            return []
        self._wait()
        return super().step()


@places_threads
@pytest.mark.parametrize("ends", [True, False])
def test_threads_that_take_turns_share_a_core_which_is_chosen_now_and_then(ends):
    everywhere, release = os.sched_getaffinity(0), threading.Event()
    engine = LongEngine(release.set if ends else release.wait)
    stepping = Stepper(engine, refusals=(), stall_s=60.0 if ends else 1.0, on_one_core=True)
    results = run(outcomes(stepping, [engine.add]))
    assert isinstance(results[0], EngineError) is not ends
    assert [at for at, pair in enumerate(engine.cores) if pair == (everywhere, everywhere)] == [0, 64, 128]
    assert all(own == other and len(own) == 1 for own, other in engine.cores[1:64] + engine.cores[65:128])
    stepping.close()  # also while a step hangs
    assert os.sched_getaffinity(0) == everywhere
    release.set()


@places_threads
def test_threads_may_run_anywhere_while_the_engine_is_idle():
    everywhere, engine = os.sched_getaffinity(0), LongEngine()
    stepping = Stepper(engine, refusals=(), stall_s=60.0, on_one_core=True)
    run(stepping.submit(engine.add))
    until = time.monotonic() + LIMIT_S
    while os.sched_getaffinity(0) != everywhere and time.monotonic() < until:
        time.sleep(0.01)
    assert os.sched_getaffinity(0) == everywhere
    stepping.close()
