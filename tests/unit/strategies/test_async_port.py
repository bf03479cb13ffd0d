"""The asynchronous port on a real event loop, with minds that are slow, wrong or dead."""

import asyncio
import math
import sys
import threading
import time

import msgspec
import pytest

from agents.baselines import BuyAndHold
from config.errors import ConfigError, Halt
from ops.bench.port import LIMIT_MS, Misbehaving, make_cases, measure_port
from strategies.ports import AsyncPort

CASES = make_cases(6, 4, 40)
FEEDBACK = object()  # the port only passes feedback on


class Desk:
    """Takes what the port delivers."""

    def __init__(self) -> None:
        self.decisions = []
        self.failures = []
        self.threads = set()

    def deliver(self, decision):
        self.threads.add(threading.get_ident())
        self.decisions.append(decision)

    @property
    def ids(self):
        return [d.decision_id for d in self.decisions]


def with_port(mind, use, *, deadline=math.inf, deliver=None):
    """Run `use(port)` on a fresh loop; return the desk and the port."""
    desk = Desk()

    async def main():
        port = AsyncPort(
            mind,
            asyncio.get_running_loop(),
            deliver or desk.deliver,
            latency_ns=1,
            expires=lambda ts: 2,
            deadline_seconds=deadline,
            on_failure=desk.failures.append,
        )
        try:
            await use(port)
        finally:
            port.close()
        return port

    return desk, asyncio.run(main())


async def send_all(port, cases=CASES):
    for case, panel in cases:
        port.send(case, panel)
    await port.drain()


def ids(cases=CASES):
    return [case.decision_id for case, _ in cases]


def mind(before=lambda asked: None):
    return Misbehaving(BuyAndHold(), before)


def test_decisions_come_back_in_order_on_the_loops_thread():
    thought_on = set()
    desk, port = with_port(
        mind(lambda asked: thought_on.add(threading.get_ident())), lambda p: send_all(p)
    )
    assert desk.ids == ids()
    assert desk.threads == {threading.get_ident()}
    assert len(thought_on) == 1
    assert thought_on.isdisjoint(desk.threads)
    assert (port.late, port.failed, port.superseded, port.pending) == (0, 0, 0, 0)


def test_a_decision_is_what_the_mind_decides_when_asked_directly():
    case, panel = CASES[0]
    desk, _ = with_port(mind(), lambda p: send_all(p, CASES[:1]))
    assert desk.decisions == [BuyAndHold().decide(case, panel, latency_ns=1, expires=2)]


def test_feedback_is_learned_between_the_decisions_that_it_was_sent_between():
    events = []
    slow = mind(lambda asked: time.sleep(0.02) or events.append(f"decide {asked}"))
    slow.learn = lambda feedback: events.append("learn")

    async def use(port):
        port.send(*CASES[0])
        port.learn([FEEDBACK])
        port.send(*CASES[1])
        port.learn([FEEDBACK])
        assert port.pending == 4
        await port.drain()

    with_port(slow, use)
    assert events == ["decide 1", "learn", "decide 2", "learn"]


def test_outcomes_are_counted_at_once_and_learned_from_on_the_minds_thread():
    seen = []
    counting = mind()
    counting.observe = lambda feedback: seen.append(("observe", threading.get_ident()))
    counting.learn = lambda feedback: seen.append(("learn", threading.get_ident()))

    async def use(port):
        port.learn([FEEDBACK])
        assert seen[0] == ("observe", threading.get_ident())
        await port.drain()

    with_port(counting, use)
    assert [what for what, _ in seen] == ["observe", "learn"]
    assert seen[1][1] != threading.get_ident()


def test_a_late_decision_is_dropped_and_counted_and_the_next_is_delivered():
    desk, port = with_port(
        mind(lambda asked: time.sleep(0.2 if asked == 1 else 0)),
        lambda p: _one_by_one(p, CASES[:2], pause=0.3),
        deadline=0.1,
    )
    assert desk.ids == ids()[1:2]
    assert (port.late, port.failed) == (1, 0)


async def _one_by_one(port, cases, pause=0.0):
    for case, panel in cases:
        port.send(case, panel)
        await port.drain()
        await asyncio.sleep(pause)


def test_a_dead_mind_costs_its_decisions_but_neither_the_loop_nor_the_end():
    release = threading.Event()
    dead = mind(lambda asked: release.wait())
    begun = time.perf_counter()
    desk, port = with_port(dead, send_all, deadline=0.1)
    assert time.perf_counter() - begun < 5
    assert desk.ids == []
    assert port.late == len(CASES)
    release.set()
    assert dead.asked == 1  # what nobody waits for any more is not asked


def test_a_failing_mind_costs_that_decision_only(caplog):
    def fails(asked):
        if asked == 2:
            raise ConnectionError("no route")

    desk, port = with_port(mind(fails), send_all)
    assert desk.ids == ids()[:1] + ids()[2:]
    assert port.failed == 1
    assert desk.failures == []
    (record,) = caplog.records
    assert ids()[1] in record.getMessage()
    assert "no route" in record.getMessage()


@pytest.mark.parametrize("error", [Halt("stop"), ConfigError("wrong"), SystemExit(3)])
def test_an_error_that_no_later_decision_mends_is_passed_on(error):
    def fails(asked):
        raise error

    desk, port = with_port(mind(fails), lambda p: send_all(p, CASES[:1]))
    assert desk.failures == [error]
    assert port.failed == 1


def test_an_error_of_the_desk_on_delivery_is_passed_on():
    error = ValueError("no such symbol")

    def deliver(decision):
        raise error

    desk, _ = with_port(mind(), lambda p: send_all(p, CASES[:1]), deliver=deliver)
    assert desk.failures == [error]


def test_failing_feedback_is_counted_and_logged(caplog):
    bad = mind()

    def learn(feedback):
        raise ValueError("not finite")

    bad.learn = learn

    async def use(port):
        port.learn([FEEDBACK])
        await port.drain()

    _, port = with_port(bad, use)
    assert port.failed == 1
    assert "not finite" in caplog.text


def test_an_answer_older_than_one_delivered_is_dropped_and_counted():
    answers = [BuyAndHold().decide(c, p, latency_ns=1, expires=2) for c, p in CASES]
    swapped = [1, 0, 2, 4, 3, 5]
    desk, port = with_port(
        mind(lambda asked: time.sleep(0.05 if asked == 1 else 0) or answers[swapped[asked - 1]]),
        send_all,
    )
    assert desk.ids == [ids()[i] for i in (1, 2, 4, 5)]
    assert port.superseded == 2
    assert port.pending == 0


def test_an_answer_to_no_case_that_waits_is_a_failure():
    case, panel = CASES[0]
    stranger = msgspec.structs.replace(
        BuyAndHold().decide(case, panel, latency_ns=1, expires=2), decision_id="f" * 24
    )
    desk, port = with_port(mind(lambda asked: stranger), lambda p: send_all(p, CASES[:1]))
    assert desk.ids == []
    assert port.failed == 1


def test_a_closed_port_delivers_nothing_more_and_refuses_cases():
    release = threading.Event()

    async def use(port):
        port.send(*CASES[0])
        port.close()
        release.set()
        await port.drain()
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="open port"):
            port.send(*CASES[1])

    desk, _ = with_port(mind(lambda asked: release.wait()), use)
    assert desk.ids == []


def test_the_switch_interval_is_short_only_while_the_port_is_open():
    before = sys.getswitchinterval()

    async def use(port):
        assert sys.getswitchinterval() == pytest.approx(0.0005)

    with_port(mind(), use)
    assert sys.getswitchinterval() == before


def test_the_loop_is_never_held_by_the_port_whatever_the_mind_does():
    for _ in range(10):  # a busy machine may take the processor away in mid-callback
        facts = measure_port(cases=8, every=0.03)
        trials = {name: f for name, f in facts.items() if isinstance(f, dict) and "late" in f}
        assert trials["is late"]["late"] >= 6
        assert trials["dies"]["late"] >= 6
        assert trials["fails"]["failed"] >= 1
        for name, trial in trials.items():
            lost = trial["late"] + trial["failed"] + trial["superseded"]
            assert trial["delivered"] + lost == 8, name
        if facts["held_by_port_max_ms"] < LIMIT_MS:
            break
    assert facts["held_by_port_max_ms"] < LIMIT_MS
