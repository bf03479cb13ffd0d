"""
Masked against unmasked: how much of an edge is the model's memory of names and dates.

Both runs trade the same sessions, so their daily excess returns are compared pair by pair, in the
same resampled blocks. An edge that lives only without masking is memory, not judgement. It
measures; it draws no conclusion that the interval does not.
"""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from agents.messages import Decision
from backtest.report.formats import interval, number, percent
from backtest.results import RunResult
from backtest.statistics.book_figures import series_of
from backtest.statistics.differences import paired_difference
from config.errors import DataError


def compare_masking(masked: RunResult, unmasked: RunResult, seed: int) -> dict[str, Any]:
    """
    Return the paired difference of two runs over the same sessions, and what differs inside.

    `decisions_differ` counts decisions with other target weights; `opinions_compared` those
    that both runs have of one junior, symbol and stamp, `opinion_signs_differ` where one is
    bullish and the other is not; `opinions_in_one` were abstentions in the other run.
    The intervals are of 95%, from a stationary bootstrap of the pairs.
    Raises DataError if the runs are not of the same sessions.
    """
    if not np.array_equal(masked.book.ts, unmasked.book.ts):
        raise DataError(
            f"expected a masked and an unmasked run of the same sessions, was "
            f"{len(masked.book.ts)} and {len(unmasked.book.ts)} with stamps of their own"
        )
    return {
        "masked_run": masked.run_id,
        "unmasked_run": unmasked.run_id,
        "sessions": len(masked.book.ts) - 1,
        **paired_difference(
            series_of(masked.book, masked.risk_free),
            series_of(unmasked.book, unmasked.risk_free),
            year=masked.sessions_per_year,
            seed=seed,
        ),
        "counts": _counts(masked.decisions, unmasked.decisions),
    }


def masking_section(difference: dict[str, Any]) -> str:
    """Return the report's section on masking, from what `compare_masking` returned."""
    figures, counts = difference["figures"], difference["counts"]
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td>'
        f"<td>{escape(bounds)}</td></tr>"
        for name, value, bounds in (
            (
                "annual excess return",
                percent(figures["mean"], sign=True),
                _percents(figures["mean_interval"]),
            ),
            ("Sharpe ratio", number(figures["sharpe"]), interval(figures["sharpe_interval"])),
        )
    )
    said = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{value:,}</dd></div>"
        for name, value in counts.items()
    )
    return f"""<section><h2>Masked against unmasked</h2>
<p class="soft">{escape(verdict(difference))} Run {escape(difference["masked_run"])} masked, run
{escape(difference["unmasked_run"])} unmasked, {difference["sessions"]:,} sessions, pair by
pair.</p>
<div class="scroll"><table><thead><tr><th>masked minus unmasked</th><th>difference</th>
<th>95% interval</th></tr></thead><tbody>{rows}</tbody></table></div>
<dl class="facts">{said}</dl></section>"""


def verdict(difference: dict[str, Any]) -> str:
    """Return in words what the difference does and does not show."""
    bounds = difference["figures"]["mean_interval"]
    if bounds is None:
        return f"Not measured: {difference['undefined']['mean_interval']}."
    if bounds[1] < 0.0:
        return "Without names and dates the edge is smaller: part of it was the model's memory."
    if bounds[0] > 0.0:
        return "Without names and dates the run did better: names misled the model."
    return "The difference is within noise: no sign that names and dates were remembered."


def _counts(masked: tuple[Decision, ...], unmasked: tuple[Decision, ...]) -> dict[str, int]:
    with_, without = ({d.ts_event: d for d in side} for side in (masked, unmasked))
    shared = with_.keys() & without.keys()
    differ = sum(with_[t].allocation.weights != without[t].allocation.weights for t in shared)
    ours, theirs = _scores(masked), _scores(unmasked)
    both = ours.keys() & theirs.keys()
    return {
        "decisions_compared": len(shared),
        "decisions_differ": differ,
        "opinions_compared": len(both),
        "opinion_signs_differ": sum((ours[k] > 0) != (theirs[k] > 0) for k in both),
        "opinions_in_one": len(ours.keys() ^ theirs.keys()),
    }


def _scores(decisions: tuple[Decision, ...]) -> dict[tuple[int, str, str], float]:
    return {(d.ts_event, o.junior, o.symbol): o.score for d in decisions for o in d.opinions}


def _percents(bounds: list[float] | None) -> str:
    if bounds is None:
        return interval(None)
    return f"[{percent(bounds[0], sign=True)}, {percent(bounds[1], sign=True)}]"
