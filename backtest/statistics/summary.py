"""
What a run's books earned and risked, from their own equity series: the dict of results.json.

`summarise` measures every book, compares the hierarchy with its variants and with each baseline,
and counts what was decided. Figures that the data do not determine are None, with the reason under
`undefined`. It knows no page and no engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backtest.results import PositionHistory, RunResult
from backtest.statistics import tallies
from backtest.statistics.book_figures import PASSIVE, Series, figures, series_of
from backtest.statistics.differences import at_matched_volatility, paired_difference, split
from backtest.statistics.measures import Undefined
from backtest.statistics.sharpe import error_of, sharpe
from backtest.statistics.trials import Luck, Trial, luck_of
from config.errors import DataError

HOLDING = "buy-and-hold"


def summarise(
    result: RunResult, *, seed: int, earlier_trials: Sequence[Trial] = ()
) -> dict[str, Any]:
    """
    Return everything that results.json holds, ready for JSON, keys in a fixed order.

    `earlier_trials` are other runs' on overlapping sessions of the same source, oldest first;
    they count as trials of the deflated Sharpe ratio beside this run's own.
    Raises DataError if a book's rows do not match the run's, or an equity is not finite.
    """
    for book in result.books:
        _check(book, result)
    every = [series_of(book, result.risk_free) for book in result.books]
    own = every[0]
    trials = own_trials(every)
    luck = luck_of([*trials, *earlier_trials])
    year = result.sessions_per_year
    rows = [_name(s.book) | split(figures(s, result, luck, seed)) for s in every]
    first = 1 + len(result.variants)
    baselines = every[first:]
    for row, series in zip(rows[first:], baselines, strict=True):
        row["matched_volatility"] = at_matched_volatility(series, own, result.risk_free, year)
    return {
        "run_id": result.run_id,
        "no_orders": result.no_orders,
        "notes": [*([result.no_orders] if result.no_orders else []), *result.notes],
        "seed": seed,
        "sessions": len(result.risk_free) - 1,
        "sessions_per_year": year,
        "first_ns": int(result.book.ts[0]),
        "last_ns": int(result.book.ts[-1]),
        "max_var": result.max_var,
        "capacity_usd": result.capacity_usd,
        "books": rows,
        "differences": [
            {"baseline": s.book.name, "gate": s.book.gate}
            | paired_difference(own, s, year=year, seed=seed)
            for s in baselines
        ],
        "gate_costs": [
            {"gate": s.book.gate} | paired_difference(s, own, year=year, seed=seed)
            for s in _variants(every, result)
        ],
        "minds_add": _minds_add(every, result, seed),
        "trials": _trials_row(trials, luck, len(earlier_trials), own, year),
        "counts": tallies.counts(result),
        "bottom_policies": sorted({d.allocation.bottom_policy for d in result.decisions}),
        "language_models": result.calls,
    }


def trial_of(result: RunResult) -> Trial | None:
    """Return the hierarchy as a trial of later runs, None where it has no Sharpe ratio."""
    found = own_trials([series_of(result.book, result.risk_free)])
    return found[0] if found else None


def own_trials(every: Sequence[Series]) -> list[Trial]:
    """
    Return the books that one could have picked: no benchmark, no stress, and with a Sharpe ratio.

    The hierarchy comes first, then its variants and the other strategies.
    """
    trials = []
    for series in every:
        excess = series.judged
        if isinstance(excess, Undefined) or series.passive or series.book.stress:
            continue
        ratio = sharpe(excess)
        if not isinstance(ratio, Undefined):
            name = f"{series.book.name} ({series.book.gate})"
            trials.append(Trial(name, ratio, series.book.ts[1:], excess))
    return trials


def _check(book: PositionHistory, result: RunResult) -> None:
    """Refuse a book whose rows are not the run's, or that holds what is no number."""
    if not np.array_equal(book.ts, result.book.ts) or len(book.ts) != len(result.risk_free):
        raise DataError(
            f"expected {len(result.risk_free)} sessions with the run's stamps in book "
            f"{book.name!r}, was {len(book.ts)} rows with stamps of their own"
        )
    if len(book.ts) < 1:
        raise DataError(f"expected at least one session in book {book.name!r}, was none")
    for name, values in (("equity", book.equity), ("gross", book.gross)):
        if len(values) != len(book.ts) or not np.isfinite(values).all():
            raise DataError(f"expected finite {name} in each session of book {book.name!r}")
    if book.equity[0] <= 0.0:
        raise DataError(
            f"expected starting equity above 0 in book {book.name!r}, was {book.equity[0]}"
        )


def _name(book: PositionHistory) -> dict[str, Any]:
    return {"name": book.name, "gate": book.gate, "stress": book.stress}


def _variants(every: Sequence[Series], result: RunResult) -> list[Series]:
    """Return the hierarchy's decisions under other gates, unstressed."""
    return [s for s in every[1 : 1 + len(result.variants)] if not s.book.stress]


def _minds_add(every: Sequence[Series], result: RunResult, seed: int) -> list[dict[str, Any]]:
    """
    Return the hierarchy less buy-and-hold, both without limits and both under the gate.

    Under the gate the hierarchy is the run's own book, buy-and-hold the one without its stop.
    """
    held = {s.book.gate: s for s in every if s.book.name == HOLDING}
    free = {s.book.gate: s for s in _variants(every, result)}
    pairs = (("gross_only", free.get("gross_only")), ("no_stop", every[0]))
    return [
        {"gate": gate}
        | paired_difference(own, held[gate], year=result.sessions_per_year, seed=seed)
        for gate, own in pairs
        if own is not None and gate in held
    ]


def _trials_row(
    trials: list[Trial], luck: Luck, earlier: int, own: Series, year: int
) -> dict[str, Any]:
    """
    Return what was counted, and the Sharpe ratio that luck gives the best of it.

    `expected_max_sharpe_annual` is what the hierarchy is judged by, `without_floor` the same by
    the trials' own spread alone; None where there is nothing to deflate.
    """
    error = own.judged if isinstance(own.judged, Undefined) else error_of(own.judged)
    floored = plain = None
    if not luck.single and not isinstance(error, Undefined):
        floored = luck.benchmark(error**2) * math.sqrt(year)
        plain = luck.benchmark(0.0) * math.sqrt(year)
    return {
        "counted": luck.counted,
        "effective": luck.effective,
        "from_this_run": [{"name": t.name, "sharpe": t.sharpe} for t in trials],
        "from_the_library": earlier,
        "expected_max_sharpe_annual": floored,
        "without_floor": plain,
        "rule": "the hierarchy and every strategy that is no passive benchmark "
        f"({', '.join(PASSIVE)}), unstressed, plus earlier trials on overlapping sessions of the "
        "same source; those that correlate are one kind",
    }
