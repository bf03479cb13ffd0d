"""
What a run's books earned and risked, from their own equity series: the content of results.json.

`summarise` measures every book, compares the hierarchy with its variants and with each baseline,
and counts what was decided. Nothing here knows the report or the engine.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from backtest.results import Calls, Gate, PositionHistory, RunResult
from backtest.statistics import tallies
from backtest.statistics.book_figures import PASSIVE, BookFigures, Series, figures, series_of
from backtest.statistics.differences import (
    Difference,
    ScaledFigures,
    at_matched_volatility,
    paired_difference,
)
from backtest.statistics.encoding import as_json
from backtest.statistics.mask_comparison import Masking
from backtest.statistics.measures import Undefined
from backtest.statistics.sharpe import error_of, sharpe
from backtest.statistics.trials import Luck, Trial, luck_of
from config.errors import DataError

HOLDING = "buy-and-hold"


class BookRow(msgspec.Struct, frozen=True, kw_only=True):
    """One of the hierarchy's books: its own, or its decisions under another gate or a stress."""

    name: str
    gate: Gate
    stress: str
    figures: BookFigures


class BaselineRow(BookRow, frozen=True, kw_only=True):
    """A baseline's book, once more at the hierarchy's volatility."""

    matched_volatility: ScaledFigures


class BaselineDifference(msgspec.Struct, frozen=True, kw_only=True):
    """The hierarchy less a baseline."""

    baseline: str
    gate: Gate
    figures: Difference


class GateDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Two books under the gate that is named, one less the other."""

    gate: Gate
    figures: Difference


class CountedTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy of this run that could have been picked, with its Sharpe ratio per session."""

    name: str
    sharpe: float


class Trials(msgspec.Struct, frozen=True, kw_only=True):
    """
    The trials of the deflated Sharpe ratio, and the Sharpe ratio that luck gives their best.

    `effective` are the kinds of the `counted` trials. `expected_max_sharpe_annual` is what the
    hierarchy is judged by, `without_floor` the same by the trials' own spread alone; None where
    there is nothing to deflate.
    """

    counted: int
    effective: int
    from_this_run: tuple[CountedTrial, ...]
    from_the_library: int
    expected_max_sharpe_annual: float | None
    without_floor: float | None
    rule: str


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The currency of an account that is not in dollars, and the book's capacity in it."""

    currency: str
    capacity: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that results.json holds, in its order.

    `books` begin with the hierarchy's own; its variants follow, then the baselines.
    `differences` are the hierarchy less each baseline, `gate_costs` its variants less itself,
    `minds_add` the hierarchy less buy-and-hold, without limits and under the gate.
    `language_models` is None where none was asked, `masking` UNSET where the run was not
    compared with an unmasked one, `account` UNSET where the account is in dollars; in any other
    currency `capacity_usd` is None.
    """

    run_id: str
    no_orders: str
    notes: tuple[str, ...]
    seed: int
    sessions: int
    sessions_per_year: int
    first_ns: int
    last_ns: int
    max_var: float
    capacity_usd: float | None
    books: tuple[BookRow, ...]
    differences: tuple[BaselineDifference, ...]
    gate_costs: tuple[GateDifference, ...]
    minds_add: tuple[GateDifference, ...]
    trials: Trials
    counts: tallies.Counts
    bottom_policies: tuple[str, ...]
    language_models: Calls | None
    masking: Masking | UnsetType = UNSET
    account: Account | UnsetType = UNSET


def results_json(summary: Summary) -> dict[str, Any]:
    """Return the content of results.json, keys in a fixed order."""
    found: dict[str, Any] = as_json(summary)
    return found | {"language_models": found["language_models"] or {}}


def summarise(result: RunResult, *, seed: int, earlier_trials: Sequence[Trial] = ()) -> Summary:
    """
    Return what a run's books earned and risked.

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
    dollars = result.currency == "USD"
    account = Account(currency=result.currency, capacity=result.capacity)
    first = 1 + len(result.variants)
    baselines = every[first:]
    return Summary(
        run_id=result.run_id,
        no_orders=result.no_orders,
        notes=(*([result.no_orders] if result.no_orders else []), *result.notes),
        seed=seed,
        sessions=len(result.risk_free) - 1,
        sessions_per_year=year,
        first_ns=int(result.book.ts[0]),
        last_ns=int(result.book.ts[-1]),
        max_var=result.max_var,
        capacity_usd=result.capacity if dollars else None,
        books=(
            *(BookRow(**_named(s), figures=figures(s, result, luck, seed)) for s in every[:first]),
            *(
                BaselineRow(
                    **_named(s),
                    figures=figures(s, result, luck, seed),
                    matched_volatility=at_matched_volatility(s, own, result.risk_free, year),
                )
                for s in baselines
            ),
        ),
        differences=tuple(
            BaselineDifference(
                baseline=s.book.name,
                gate=s.book.gate,
                figures=paired_difference(own, s, year=year, seed=seed),
            )
            for s in baselines
        ),
        gate_costs=tuple(
            GateDifference(
                gate=s.book.gate, figures=paired_difference(s, own, year=year, seed=seed)
            )
            for s in _variants(every, result)
        ),
        minds_add=_minds_add(every, result, seed),
        trials=_trials(trials, luck, len(earlier_trials), own, year),
        counts=tallies.counts(result),
        bottom_policies=tuple(sorted({d.allocation.bottom_policy for d in result.decisions})),
        language_models=result.calls,
        account=UNSET if dollars else account,
    )


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


def _named(series: Series) -> dict[str, Any]:
    book = series.book
    return {"name": book.name, "gate": book.gate, "stress": book.stress}


def _variants(every: Sequence[Series], result: RunResult) -> list[Series]:
    """Return the hierarchy's decisions under other gates, unstressed."""
    return [s for s in every[1 : 1 + len(result.variants)] if not s.book.stress]


def _minds_add(
    every: Sequence[Series], result: RunResult, seed: int
) -> tuple[GateDifference, ...]:
    """
    Return the hierarchy less buy-and-hold, both without limits and both under the gate.

    Under the gate the hierarchy is the run's own book, buy-and-hold the one without its stop.
    """
    held = {s.book.gate: s for s in every if s.book.name == HOLDING}
    free = {s.book.gate: s for s in _variants(every, result)}
    pairs: tuple[tuple[Gate, Series | None], ...] = (
        ("gross_only", free.get("gross_only")),
        ("no_stop", every[0]),
    )
    year = result.sessions_per_year
    return tuple(
        GateDifference(gate=gate, figures=paired_difference(own, held[gate], year=year, seed=seed))
        for gate, own in pairs
        if own is not None and gate in held
    )


def _trials(trials: list[Trial], luck: Luck, earlier: int, own: Series, year: int) -> Trials:
    """Return what was counted, and the Sharpe ratio that luck gives the best of it."""
    error = own.judged if isinstance(own.judged, Undefined) else error_of(own.judged)
    floored = plain = None
    if not luck.single and not isinstance(error, Undefined):
        floored = luck.benchmark(error**2) * math.sqrt(year)
        plain = luck.benchmark(0.0) * math.sqrt(year)
    return Trials(
        counted=luck.counted,
        effective=luck.effective,
        from_this_run=tuple(CountedTrial(name=t.name, sharpe=t.sharpe) for t in trials),
        from_the_library=earlier,
        expected_max_sharpe_annual=floored,
        without_floor=plain,
        rule="the hierarchy and every strategy that is no passive benchmark "
        f"({', '.join(PASSIVE)}), unstressed, plus earlier trials on overlapping sessions of the "
        "same source; those that correlate are one kind",
    )
