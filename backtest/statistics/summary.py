"""
What a run's books earned and risked, from their own equity series: the dict of results.json.

`summarise` measures every book, compares the hierarchy with each baseline and counts what was
decided. Figures that the data do not determine are None, with the reason under `undefined`.
The formulas are in measures.py and bootstrap.py; it knows no page and no engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.statistics import measures, tallies
from backtest.statistics.bootstrap import block_length, percentile_interval, resampled
from backtest.statistics.measures import Figure, Undefined
from backtest.results import Book, RunResult
from config.errors import DataError

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]

# benchmarks that nobody picks for their record: they are no trials of the deflated Sharpe ratio
PASSIVE = ("buy_and_hold", "equal_weight")
ROOT_YEAR = math.sqrt(measures.SESSIONS_PER_YEAR)
RUINED = Undefined("equity fell to zero or below")


def base_name(book: Book) -> str:
    """Return a book's strategy, whether or not it is gated: "buy_and_hold"."""
    name = book.name.lower().replace("-", "_").replace(" ", "_")
    return name.removesuffix("_gated").removeprefix("gated_")


def summarise(
    result: RunResult, *, seed: int, prior_trial_sharpes: Sequence[float] = ()
) -> dict[str, Any]:
    """
    Return everything that results.json holds, ready for JSON, keys in a fixed order.

    `prior_trial_sharpes` are the per-session Sharpe ratios of earlier trials on the same data;
    they count as trials of the deflated Sharpe ratio beside this run's own.
    Raises DataError if a book's rows do not match the run's, or an equity is not finite.
    """
    books = (result.book, *result.baselines)
    for book in books:
        _check(book, result)
    returns = [_returns(book) for book in books]
    excess = [r - result.risk_free[1:] if r is not None else None for r in returns]
    trials = _trials(books, excess, prior_trial_sharpes)
    benchmark = measures.expected_max_sharpe(
        [*(t["sharpe"] for t in trials), *prior_trial_sharpes]
    )
    counted = len(trials) + len(prior_trial_sharpes)
    rows = []
    for book, r, x in zip(books, returns, excess, strict=True):
        figures = _figures(book, r, x, seed)
        figures |= _luck(book, x, benchmark, counted)
        row = {"name": book.name, "strategy": base_name(book), "gated": book.gated}
        row |= _split(figures)
        if book is not result.book:
            row["matched_volatility"] = _matched(x, excess[0], result.risk_free[1:])
        rows.append(row)
    return {
        "run_id": result.run_id,
        "notes": list(result.notes),
        "seed": seed,
        "sessions": len(result.risk_free) - 1,
        "first_ns": int(result.book.ts[0]),
        "last_ns": int(result.book.ts[-1]),
        "books": rows,
        "differences": [
            {"baseline": b.name, "gated": b.gated} | paired_difference(excess[0], x, seed)
            for b, x in zip(books[1:], excess[1:], strict=True)
        ],
        "trials": {
            "counted": counted,
            "from_this_run": trials,
            "from_the_library": len(prior_trial_sharpes),
            "expected_max_sharpe_annual": benchmark * ROOT_YEAR if counted > 1 else None,
            "rule": "the hierarchy and every baseline that is no passive benchmark "
            f"({', '.join(PASSIVE)}), gated and ungated, plus earlier trials on the same data",
        },
        "counts": tallies.counts(result),
        "language_models": result.calls,
    }


def _check(book: Book, result: RunResult) -> None:
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


def _returns(book: Book) -> FloatArray | None:
    """Return the simple returns of sessions 1..T-1, or None for a book that was ruined."""
    if (book.equity <= 0.0).any():
        return None
    return book.equity[1:] / book.equity[:-1] - 1.0


def _figures(
    book: Book, returns: FloatArray | None, excess: FloatArray | None, seed: int
) -> dict[str, Any]:
    """Return a book's own figures, in the order of the table; Undefined where they are that."""
    sessions = len(book.ts) - 1
    total = float(book.equity[-1] / book.equity[0] - 1.0)
    profits = np.array([t.profit for t in book.trades], dtype=np.float64)
    max_drawdown = float(measures.drawdowns(book.equity).max())
    underwater, still = measures.drawdown_sessions(book.equity)
    held, breaches = tallies.var_breaches(book)
    annual = measures.annual_return(total, sessions)
    volatility = RUINED if returns is None else _yearly(measures.deviation(returns))
    nothing = Undefined("the run has no session after its first row")
    ratios: dict[str, Any] = dict.fromkeys(("sharpe", "sharpe_interval", "sortino"), RUINED)
    ratios["sharpe_block_sessions"] = RUINED
    if returns is not None and excess is not None:
        interval = measures.sharpe_interval(excess, seed=seed)
        ratios = {
            "sharpe": _yearly(measures.sharpe(excess)),
            "sharpe_interval": interval if isinstance(interval, Undefined) else list(interval[0]),
            "sharpe_block_sessions": interval if isinstance(interval, Undefined) else interval[1],
            "sortino": measures.sortino(excess),
        }
    return {
        "total_return": total,
        "annual_return": annual,
        "volatility": volatility,
        **ratios,
        "calmar": measures.calmar(annual, max_drawdown),
        "max_drawdown": max_drawdown,
        "drawdown_sessions": underwater,
        "drawdown_open": still,
        "closed_trades": len(profits),
        "win_rate": measures.win_rate(profits),
        "profit_factor": measures.profit_factor(profits),
        "turnover": float(book.turnover[1:].mean()) * measures.SESSIONS_PER_YEAR
        if sessions
        else nothing,
        "costs": float(book.costs.sum()),
        "costs_frac": float(book.costs.sum() / book.equity[0]),
        "gross": float(book.gross[1:].mean()) if sessions else nothing,
        "var_compliance": 1.0 - breaches / held
        if held
        else Undefined("no session was held under a known VaR"),
        "var_sessions": held,
        "var_breaches": breaches,
        "kupiec_p": measures.kupiec(held, breaches),
    }


def _yearly(per_session: Figure) -> Figure:
    return per_session if isinstance(per_session, Undefined) else per_session * ROOT_YEAR


def _trials(
    books: Sequence[Book], excess: Sequence[FloatArray | None], prior: Sequence[float]
) -> list[dict[str, Any]]:
    """Return this run's trials with their per-session Sharpe ratios; refuse unsound prior ones."""
    if not np.isfinite(np.asarray(prior, dtype=np.float64)).all():
        raise DataError("expected finite Sharpe ratios of earlier trials, was one that is not")
    trials = []
    for book, x in zip(books, excess, strict=True):
        if x is None or base_name(book) in PASSIVE:
            continue
        ratio = measures.sharpe(x)
        if not isinstance(ratio, Undefined):
            trials.append({"name": book.name, "gated": book.gated, "sharpe": ratio})
    return trials


def _luck(
    book: Book, excess: FloatArray | None, benchmark: float, counted: int
) -> dict[str, Figure]:
    """Return the probabilistic and the deflated Sharpe ratio; one trial has the first only."""
    if excess is None:
        return {"probabilistic_sharpe": RUINED, "deflated_sharpe": RUINED}
    deflated: Figure
    if base_name(book) in PASSIVE:
        deflated = Undefined("a passive benchmark is not picked from trials")
    elif counted < 2:
        deflated = Undefined("a single trial: see the probabilistic Sharpe ratio")
    else:
        deflated = measures.probabilistic_sharpe(excess, benchmark)
    return {
        "probabilistic_sharpe": measures.probabilistic_sharpe(excess),
        "deflated_sharpe": deflated,
    }


def _matched(
    excess: FloatArray | None, reference: FloatArray | None, risk_free: FloatArray
) -> dict[str, Any]:
    """
    Return the figures of a baseline scaled to the hierarchy's volatility of excess return.

    The scaled series holds `scale` of the baseline and the rest in cash at the risk-free rate,
    rebalanced each session without cost: a yardstick that nobody traded.
    """
    keys = ("scale", "total_return", "annual_return", "sharpe", "max_drawdown")
    if excess is None or reference is None:
        return _split(dict.fromkeys(keys, RUINED))
    own, target = measures.deviation(excess), measures.deviation(reference)
    if isinstance(own, Undefined) or own < measures.FLAT:
        return _split(dict.fromkeys(keys, Undefined("the baseline has no variance")))
    if isinstance(target, Undefined) or target < measures.FLAT:
        return _split(dict.fromkeys(keys, Undefined("the hierarchy has no variance")))
    scale = target / own
    equity = np.cumprod(np.concatenate([[1.0], 1.0 + risk_free + scale * excess]))
    if (equity <= 0.0).any():
        return _split(dict.fromkeys(keys, Undefined("the scaled series falls to zero")))
    total = float(equity[-1] - 1.0)
    annual = measures.annual_return(total, len(excess))
    drawdown = float(measures.drawdowns(equity).max())
    values = (scale, total, annual, _yearly(measures.sharpe(scale * excess)), drawdown)
    return _split(dict(zip(keys, values, strict=True)))


def paired_difference(
    hierarchy: FloatArray | None, baseline: FloatArray | None, seed: int
) -> dict[str, Any]:
    """
    Return the annual mean of the hierarchy's return less the baseline's, with its 95% interval.

    Both are resampled in the same blocks, sized for the difference; so is the difference of
    their Sharpe ratios.
    """
    keys = ("mean", "mean_interval", "sharpe", "sharpe_interval", "block_sessions")
    if hierarchy is None or baseline is None:
        return _split(dict.fromkeys(keys, RUINED))
    if len(hierarchy) < measures.MIN_SESSIONS:
        few = Undefined(f"fewer than {measures.MIN_SESSIONS} sessions")
        return _split(dict.fromkeys(keys, few))
    gap = hierarchy - baseline
    mean_block = block_length(gap)

    def both(positions: IntArray) -> FloatArray:
        ratios = measures.row_sharpe(hierarchy[positions])
        ratios -= measures.row_sharpe(baseline[positions])
        return np.column_stack([gap[positions].mean(axis=1), ratios])

    values = resampled(len(gap), both, mean_block=mean_block, seed=seed)
    year = measures.SESSIONS_PER_YEAR
    own, other = measures.sharpe(hierarchy), measures.sharpe(baseline)
    ratio: Figure = measures.NO_VARIANCE
    interval: Any = measures.NO_VARIANCE
    if not isinstance(own, Undefined) and not isinstance(other, Undefined):
        ratio = (own - other) * ROOT_YEAR
        interval = Undefined("too few sessions with a return of their own to resample")
        if np.isfinite(values[:, 1]).all():
            interval = list(percentile_interval(values[:, 1] * ROOT_YEAR))
    return _split(
        {
            "mean": float(gap.mean()) * year,
            "mean_interval": list(percentile_interval(values[:, 0] * year)),
            "sharpe": ratio,
            "sharpe_interval": interval,
            "block_sessions": mean_block,
        }
    )


def _split(figures: dict[str, Any]) -> dict[str, Any]:
    """Return `figures` with None for the undefined ones, and their reasons under `undefined`."""
    return {
        "figures": {k: None if isinstance(v, Undefined) else v for k, v in figures.items()},
        "undefined": {k: v.reason for k, v in figures.items() if isinstance(v, Undefined)},
    }
