"""
Compares the training twin with the engine, in cents and in steps a second.

Absolute times mean little on a shared machine; the ratio in one run does. Engine and twin are
timed one after the other on one market, each step of either a session with the gate in force.
Rates are per second of processor time, so that neighbours weigh less; those of processes that run
at one time are added up.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from agents.arrays import FloatArray
from agents.messages import Instrument
from backtest.engine.feed import make_feed
from backtest.engine.stepped_book import EngineBook
from backtest.market.market_data import MarketData
from config.settings import Settings
from learning.twin.market_arrays import make_market_arrays
from learning.twin.parity import Parity, by_kind, compare
from learning.twin.schedules import schedules
from learning.twin.twin import Twin
from ops.bench.random_walks import (
    CLOSING_NS,
    DAY_NS,
    FIRST_DAY,
    OPENING_NS,
    make_bars,
    make_walks,
)
from ops.printing import make_table, open_console, print_json, progress_bar

SESSIONS = 400
WARM_UP = 80  # sessions before the first decision
ENGINE_STEPS = 200
TWIN_SECONDS = 1.0  # of each measurement
BATCHES = (64, 256, 1_024, 4_096, 16_384)
COUNTS = (1, 8)  # of instruments
PROCESSES = 2  # at most
PARITY_COUNTS = ("schedules", "steps", "fills", "stops", "delisted", "limited", "differences")
RATE_HEADS = (
    *("environment", "instruments", "batch", "processes", "holding", "ordering"),
    "of the engine",
)


@dataclass(frozen=True)
class TwinRate:
    """Steps/s of a batch of twins: weights that never change, and an order each step."""

    instruments: int
    batch: int
    processes: int
    holding: float
    ordering: float


@dataclass(frozen=True)
class EngineRate:
    """Steps/s of the desk in the engine."""

    instruments: int
    holding: float
    ordering: float


def compare_worlds(count: int, seed: int) -> list[Parity]:
    """Run random schedules through engine and twin, and return what each pair came to."""
    with progress_bar(open_console(as_json=True)) as bar:
        task = bar.add_task("schedules", total=count)
        results = []
        for schedule in schedules(count, seed):
            results.append(compare(schedule))
            bar.advance(task)
        return results


def print_parity(results: Sequence[Parity], seed: int, as_json: bool) -> None:
    """Print the schedules by kind, and every difference."""
    rows = by_kind(results)
    wrong = [r for r in results if r.difference]
    total = {name: sum(getattr(row, name) for row in rows) for name in PARITY_COUNTS}
    largest = max((r.money for r in results), default=0.0)
    if as_json:
        details = [{"kind": r.kind, "seed": r.seed, "difference": r.difference} for r in wrong]
        print_json({**total, "seed": seed, "largest": largest, "kinds": rows, "wrong": details})
        return
    by_row = [(row.kind, *(str(getattr(row, name)) for name in total)) for row in rows]
    lines = (*by_row, None, ("all", *map(str, total.values())))
    console = open_console(as_json, width=100)
    console.print(make_table(f"engine and twin, seed {seed}", ("kind", *total), lines))
    for r in wrong[:20]:
        print(f"{r.kind}, seed {r.seed}, step {r.steps}, {r.difference}")
    print(
        f"{total['schedules']} schedules, {total['steps']} steps, {total['fills']} fills: "
        f"{len(wrong)} differences; the largest in money was {largest:.1e}"
    )


def measure_environments(seed: int) -> tuple[list[EngineRate], list[TwinRate]]:
    """Return steps/s of the engine and of the twin, for each count of instruments."""
    console = open_console(as_json=True)
    engines, twins = [], []
    for count in COUNTS:
        market, settings = bench_market(count, seed), bench_settings(seed)
        console.print(f"engine, {count} instruments", highlight=False)
        engines.append(engine_rate(market, settings))
        alone = []
        for batch in BATCHES:
            console.print(f"twin, {count} instruments, batch {batch}", highlight=False)
            alone.append(twin_rate(count, batch, 1, seed))
        fastest = max(alone, key=lambda twin: twin.ordering)
        twins += [*alone, twin_rate(count, fastest.batch, PROCESSES, seed)]
    return engines, twins


def print_rates(engines: Sequence[EngineRate], twins: Sequence[TwinRate], as_json: bool) -> None:
    """Print rates, and how many times faster than the engine the best twin is."""
    mine = {e.instruments: [t for t in twins if t.instruments == e.instruments] for e in engines}
    best = {count: max(rates, key=lambda twin: twin.ordering) for count, rates in mine.items()}
    ratios = {e.instruments: best[e.instruments].ordering / e.ordering for e in engines}
    if as_json:
        print_json({"engine": engines, "twin": twins, "ratio": ratios})
        return
    rows: list[tuple[str, ...] | None] = []
    for engine in engines:
        n = str(engine.instruments)
        rows.append(("engine", n, "1", "1", *_both(engine), "1"))
        for twin in mine[engine.instruments]:
            of_engine = f"{twin.ordering / engine.ordering:,.0f}"
            rows.append(("twin", n, str(twin.batch), str(twin.processes), *_both(twin), of_engine))
        rows.append(None)
    title = "environment steps per second of processor time"
    open_console(as_json, width=100).print(make_table(title, RATE_HEADS, rows))
    for count, twin in best.items():
        print(
            f"{count} instruments: {twin.ordering:,.0f} steps/s with an order each step at batch "
            f"{twin.batch} on {twin.processes} processes, {ratios[count]:,.0f} times the engine"
        )


def _both(rate: EngineRate | TwinRate) -> tuple[str, str]:
    return f"{rate.holding:,.0f}", f"{rate.ordering:,.0f}"


def bench_settings(seed: int) -> Settings:
    """Return the default rules and limits but for the stop, after which a book may not order."""
    limits = msgspec.structs.replace(Settings().limits, stop="none")
    return Settings(seed=seed, limits=limits)


def bench_market(count: int, seed: int) -> MarketData:
    """Return daily random walks of `count` instruments."""
    rng = np.random.default_rng(seed)
    days = (FIRST_DAY + np.arange(SESSIONS)) * DAY_NS
    instruments = tuple(
        Instrument(symbol=f"S{i}", venue="SIM", group=f"G{i % 4}") for i in range(count)
    )
    tables = []
    for instrument in instruments:
        steps = rng.normal(0.0, 0.01, (SESSIONS, 2))
        close = 100.0 * np.exp(np.cumsum(steps[:, 0]))
        opened = np.concatenate([[100.0], close[:-1]]) * np.exp(0.3 * steps[:, 1])
        close, opened = close.round(2), opened.round(2)
        prices = {
            "open": opened,
            "high": np.maximum(opened, close),
            "low": np.minimum(opened, close),
            "close": close,
        }
        tables.append(make_bars(instrument, days + OPENING_NS, days + CLOSING_NS, prices))
    return make_walks("random days", instruments, tables, days + CLOSING_NS)


def engine_rate(market: MarketData, settings: Settings) -> EngineRate:
    """Return the engine's steps/s, one book of which every step is a session."""
    feed = make_feed(market, settings.market, 0)
    n = len(market.instruments)
    rates = []
    for path in (_holding_path, _ordering_path):
        book = EngineBook(market, settings, start=WARM_UP, feed=feed)
        try:
            book.start()
            targets = path(ENGINE_STEPS, 1, n)
            begin = time.process_time()
            for row in targets:
                book.step(row[0])
            rates.append(ENGINE_STEPS / (time.process_time() - begin))
        finally:
            book.close()
    return EngineRate(n, *rates)


def twin_rate(count: int, batch: int, processes: int, seed: int) -> TwinRate:
    """Return the twin's steps/s, summed over processes that run at one time."""
    if processes == 1:
        return TwinRate(count, batch, processes, *_twin_rates(count, batch, seed, None))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    queue = context.SimpleQueue()
    workers = [
        context.Process(target=_work, args=(count, batch, seed + k, barrier, queue))
        for k in range(processes)
    ]
    for worker in workers:
        worker.start()
    got = [queue.get() for _ in workers]
    for worker in workers:
        worker.join()
    return TwinRate(count, batch, processes, *(sum(rates) for rates in zip(*got, strict=True)))


def _work(count: int, batch: int, seed: int, barrier: Any, queue: Any) -> None:
    queue.put(_twin_rates(count, batch, seed, barrier.wait))


def _twin_rates(
    count: int, batch: int, seed: int, ready: Callable[[], Any] | None
) -> tuple[float, float]:
    settings = bench_settings(seed)
    twin = Twin(make_market_arrays([bench_market(count, seed)], settings), settings, batch)
    rates = []
    for path in (_holding_path, _ordering_path):
        targets = path(8, batch, count)
        _start(twin, seed)
        twin.step(targets[0])
        if ready is not None:
            ready()
        steps, spent = 0, 0.0
        while spent < TWIN_SECONDS:
            _start(twin, seed)
            begin = time.process_time()
            for k in range(SESSIONS - WARM_UP - 100):
                twin.step(targets[k % 8])
                steps += 1
                if time.process_time() - begin > TWIN_SECONDS:
                    break
            spent += time.process_time() - begin
        rates.append(steps * batch / spent)
    return rates[0], rates[1]


def _start(twin: Twin, seed: int) -> None:
    sessions = np.random.default_rng(seed).integers(WARM_UP, WARM_UP + 90, twin.batch)
    twin.reset(np.zeros(twin.batch, np.int64), sessions, seed)


def _holding_path(steps: int, batch: int, n: int) -> FloatArray:
    """Return (steps, B, N) weights of a book that is bought once."""
    return np.full((steps, batch, n), min(0.08, 0.8 / n))


def _ordering_path(steps: int, batch: int, n: int) -> FloatArray:
    """Return weights that change by more than the no-trade band at every step."""
    rng = np.random.default_rng(0)
    sizes = np.where(np.arange(steps) % 2, 0.03, 0.07)[:, None, None]
    return sizes + rng.uniform(-0.01, 0.01, (steps, batch, n))
