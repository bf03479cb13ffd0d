"""
Measures the library: rows a second through the writer, and milliseconds for `top`.

`sample_records` is a deterministic stream of a whole run's records, made up and plausible in
size only; the library's tests feed on it too. Writing is measured through the public writer,
from messages, with default durability, counting what the tables then hold. Reading is measured
on a library filled in bulk: decisions (bodies of 256 patterns, random ids), their outcomes and
their rewards, which is all that `top` touches.
"""

import hashlib
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agents.messages import (
    JUNIORS,
    ROUTES,
    Abstention,
    Allocation,
    Case,
    Decision,
    FillRecord,
    InstrumentState,
    MacroState,
    Opinion,
    OrderRecord,
    Outcome,
    Portfolio,
    Proposal,
    Regime,
    Reward,
    Route,
    SessionReturns,
    Verdict,
    VerdictLine,
)
from agents.protocols import Record
from learning.experience.library import Library, RunInfo, open_library
from learning.experience.rows import Batch, append
from learning.experience.store import writing
from learning.rewards.decision_reward import decision_reward

DAY_NS = 86_400_000_000_000
_START = 1_388_620_800_000_000_000  # 2014-01-02
_REGIMES: tuple[Regime, ...] = ("bull", "bear", "sideways")
_PATTERNS = 256
_CHUNK = 20_000


def sample_run(run_id: str = "sample") -> RunInfo:
    """Return a run to write sample records under."""
    return RunInfo(
        run_id=run_id,
        name="sample",
        config="{}",
        data_digest="",
        code_version="",
        seed=0,
        start_state="prior",
        source_digest="",
    )


def sample_records(decisions: int, instruments: int = 4, seed: int = 0) -> Iterator[Record]:
    """Yield made-up sessions: returns, case, decision, verdict, order, fill, outcomes."""
    rng = np.random.default_rng(seed)
    for i in range(decisions):
        case = _case(rng, _START + i * DAY_NS, instruments)
        decision = _decision(rng, case)
        yield SessionReturns(
            ts_event=case.ts_event,
            symbols=tuple(state.symbol for state in case.instruments),
            returns=tuple((rng.standard_normal(instruments) * 0.01).tolist()),
        )
        yield case
        yield decision
        yield from _aftermath(rng, decision)


def _case(rng: np.random.Generator, ts: int, instruments: int) -> Case:
    states = tuple(
        InstrumentState(
            symbol=f"S{k:03d}",
            group=f"G{k % 11:02d}",
            ts_event=ts,
            ts_init=ts,
            price=round(float(rng.uniform(10, 200)), 2),
            features=tuple(rng.standard_normal(22).tolist()),
        )
        for k in range(instruments)
    )
    macro = MacroState(
        ts_event=ts,
        ts_init=ts,
        features=tuple(rng.standard_normal(18).tolist()),
        regime=_REGIMES[int(rng.integers(3))],
    )
    return Case(
        ts_event=ts,
        ts_init=ts,
        trigger="schedule",
        horizon="medium",
        instruments=states,
        macro=macro,
        portfolio=Portfolio(equity=1e5, cash=1e5, drawdown=0.0),
    )


def _decision(rng: np.random.Generator, case: Case) -> Decision:
    key = case.decision_id
    routes, opinions, abstentions, proposals = [], [], [], []
    for state in case.instruments:
        symbol = state.symbol
        route = Route(
            symbol=symbol,
            arm=int(rng.integers(len(ROUTES))),
            context=tuple(rng.uniform(-1, 1, 16).tolist()),
            scores=tuple(rng.uniform(0, 2, 7).tolist()),
        )
        routes.append(route)
        cites = []
        for junior in route.juniors:
            if rng.random() < 0.1:
                abstentions.append(
                    Abstention(junior=junior, symbol=symbol, reason="no evidence", model="rules")
                )
                continue
            opinion = Opinion(
                opinion_id=f"{key}-{symbol}-{junior}",
                junior=junior,
                symbol=symbol,
                score=float(rng.uniform(-2, 2)),
                confidence=float(rng.random()),
                evidence=(f"{symbol}:{case.ts_event}",),
                rationale=f"{junior} evidence on {symbol} points one way more than the other",
                model="rules",
            )
            opinions.append(opinion)
            cites.append(opinion.opinion_id)
        conviction = float(rng.uniform(-1, 1)) if cites else 0.0
        proposals.append(
            Proposal(
                symbol=symbol,
                action="BUY" if conviction > 0.2 else "SELL" if conviction < -0.2 else "HOLD",
                conviction=conviction,
                horizon="medium",
                rationale=f"weighs {len(cites)} opinions on {symbol}",
                cites=tuple(cites),
                conviction_without=dict.fromkeys(route.juniors, conviction / 2),
            )
        )
    weights = {p.symbol: max(0.0, p.conviction) / len(proposals) for p in proposals}
    return Decision(
        decision_id=key,
        ts_event=case.ts_event,
        ts_init=case.ts_event,
        expires=case.ts_event + 3 * DAY_NS,
        trigger=case.trigger,
        minds="rules",
        routes=tuple(routes),
        opinions=tuple(opinions),
        abstentions=tuple(abstentions),
        proposals=tuple(proposals),
        allocation=Allocation(
            regime=case.macro.regime,
            top_policy="sample",
            bottom_policy="sample",
            group_budgets={s.group: 1.0 / len(case.instruments) for s in case.instruments},
            weights=weights,
        ),
    )


def _aftermath(rng: np.random.Generator, d: Decision) -> Iterator[Record]:
    lines = tuple(
        VerdictLine(symbol=s, held=0.0, asked=w, allowed=min(w, 0.1), limit="position" * (w > 0.1))
        for s, w in d.allocation.weights.items()
    )
    yield Verdict(
        decision_id=d.decision_id,
        ts_event=d.ts_init,
        ts_init=d.ts_init,
        stage="delivery",
        lines=lines,
        var_frac=float(rng.uniform(0, 0.02)),
    )
    ts = d.ts_init + DAY_NS
    for line in lines:
        if line.allowed <= 0.0:
            continue
        order_id = f"O-{d.decision_id}-{line.symbol}"
        yield OrderRecord(
            decision_id=d.decision_id,
            order_id=order_id,
            symbol=line.symbol,
            ts_decided=d.ts_init,
            ts_held=d.ts_init,
            ts_event=ts,
            quantity=100.0,
            reason="decision",
        )
        yield FillRecord(
            decision_id=d.decision_id,
            order_id=order_id,
            fill_id=f"{order_id}-1",
            symbol=line.symbol,
            ts_event=ts,
            ts_price=ts,
            quantity=100.0,
            price=float(rng.uniform(10, 200)),
            commission=1.0,
        )
    outcomes = [_outcome(rng, d, i) for i in range(len(d.proposals))]
    yield from outcomes
    end = outcomes[0].ts_event
    for o in outcomes:
        yield Reward(
            decision_id=d.decision_id,
            symbol=o.symbol,
            ts_event=end,
            learner="supervisor",
            value=decision_reward([o], 0).value,
        )
    yield Reward(
        decision_id=d.decision_id,
        symbol="",
        ts_event=end,
        learner="decision",
        value=decision_reward(outcomes, 0).value,
    )


def _outcome(rng: np.random.Generator, d: Decision, i: int) -> Outcome:
    proposal, ts = d.proposals[i], d.ts_event + 6 * DAY_NS
    ret, market, group = (rng.standard_normal(3) * 0.03).tolist()
    return Outcome(
        decision_id=d.decision_id,
        symbol=proposal.symbol,
        ts_event=ts,
        ts_init=ts,
        horizon="medium",
        arm=d.routes[i].arm,
        conviction=proposal.conviction,
        instrument_return=ret,
        realised=float(np.sign(proposal.conviction)) * ret - 0.006,
        volatility=float(rng.uniform(0.01, 0.05)),
        max_drawdown=float(rng.uniform(0, 0.2)),
        benchmark_return=market,
        group_return=group,
        leave_one_out={j: ret * c for j, c in proposal.conviction_without.items() if j in JUNIORS},
    )


def measure_library(
    rows: int = 400_000, decisions: int = 1_000_000, instruments: int = 1, folder: str = ""
) -> dict[str, float]:
    """
    Measure writing `rows` rows and `top(limit=1000)` on `decisions` decisions.

    `instruments` is the size of the decisions that are read; those that are written have 8. The
    databases live in a temporary folder under `folder` (the system's own by default): a million
    decisions of one instrument take 2.7 GB.
    """
    with tempfile.TemporaryDirectory(dir=folder or None) as temporary:
        base = Path(temporary)
        return _bench_write(base, rows) | _bench_top(base, decisions, instruments)


def _bench_write(base: Path, rows: int) -> dict[str, float]:
    with open_library(base / "write.db") as library:
        per_decision = 60
        records = list(sample_records(max(1, rows // per_decision), instruments=8))
        writer = library.writer(sample_run())
        start = time.perf_counter()
        for record in records:
            writer.add(record)
        writer.flush()
        seconds = time.perf_counter() - start
        held = sum(library.counts("sample").values())
    return {"rows": held, "write_s": seconds, "rows_per_s": held / seconds}


def _bench_top(base: Path, decisions: int, instruments: int) -> dict[str, float]:
    with open_library(base / "read.db") as library:
        start = time.perf_counter()
        fill_in_bulk(library, decisions, instruments)
        build_s = time.perf_counter() - start
        times, found = [], 0
        for _ in range(9):
            start = time.perf_counter()
            found = len(library.top(min_reward=0.7, limit=1000))
            times.append((time.perf_counter() - start) * 1e3)
    return {
        "decisions": decisions,
        "instruments": instruments,
        "build_s": build_s,
        "found": found,
        "top_first_ms": times[0],
        "top_median_ms": statistics.median(times),
        "top_worst_ms": max(times),
    }


def fill_in_bulk(library: Library, decisions: int, instruments: int = 1) -> None:
    """
    Fill a library with decisions, outcomes and rewards only, past the messages.

    Ids are hashes, inserted in their order; rewards are uniform, so the best lie anywhere.
    """
    writer = library.writer(sample_run("bulk"))
    patterns = _patterns(instruments)
    ids = sorted(hashlib.sha256(str(i).encode()).hexdigest()[:24] for i in range(decisions))
    rewards = np.random.default_rng(1).random(decisions).tolist()
    for first in range(0, decisions, _CHUNK):
        batch: Batch = defaultdict(list)
        for i in range(first, min(first + _CHUNK, decisions)):
            old, pattern = patterns[i % len(patterns)]
            d, r = pattern["decisions"][0], pattern["rewards"][-1]
            batch["decisions"].append((d[0], ids[i], *d[2:-1], d[-1].replace(old, ids[i])))
            batch["outcomes"] += [(o[0], ids[i], *o[2:]) for o in pattern["outcomes"]]
            batch["rewards"].append((r[0], ids[i], *r[2:5], rewards[i], r[6]))
        with writing(library.engine).begin() as connection:
            for table in ("decisions", "outcomes", "rewards"):
                connection.exec_driver_sql(writer.inserts[table], batch[table])


def _patterns(instruments: int) -> list[tuple[str, Batch]]:
    patterns: list[tuple[str, Batch]] = []
    for record in sample_records(_PATTERNS, instruments, seed=2):
        if isinstance(record, Decision):
            patterns.append((record.decision_id, defaultdict(list)))
        if not isinstance(record, Case | SessionReturns):
            append("bulk", record, patterns[-1][1])
    return patterns
