"""
The report's section on a masked run beside an unmasked one, and what their difference shows.

The sentence claims no more than the interval does. `backtest.statistics.mask_comparison` measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from backtest.report.formats import interval, number, percent, percent_interval
from backtest.report.views import Fact, Row, Table, count_facts
from backtest.statistics.mask_comparison import Masking
from backtest.statistics.measures import Undefined


@dataclass(frozen=True)
class MaskingView:
    """The section: a sentence, which runs, their difference with intervals, and the counts."""

    verdict: str
    masked_run: str
    unmasked_run: str
    sessions: str
    table: Table
    counts: tuple[Fact, ...]


def masking_view(masking: Masking) -> MaskingView:
    """Return the section on what `compare_masking` found."""
    found = masking.figures
    excess = (percent(found.mean, sign=True), percent_interval(found.mean_interval))
    ratio = (number(found.sharpe), interval(found.sharpe_interval))
    return MaskingView(
        verdict=verdict(masking),
        masked_run=masking.masked_run,
        unmasked_run=masking.unmasked_run,
        sessions=f"{masking.sessions:,}",
        table=Table(
            "masked minus unmasked",
            ("difference", "95% interval"),
            (Row("annual excess return", excess), Row("Sharpe ratio", ratio)),
        ),
        counts=count_facts(msgspec.structs.asdict(masking.counts)),
    )


def verdict(masking: Masking) -> str:
    """Return in words what the difference does and does not show."""
    bounds = masking.figures.mean_interval
    if isinstance(bounds, Undefined):
        return f"Not measured: {bounds.reason}."
    if bounds[1] < 0.0:
        return "Without names and dates the edge is smaller: part of it was the model's memory."
    if bounds[0] > 0.0:
        return "Without names and dates the run did better: names misled the model."
    return "The difference is within noise: no sign that names and dates were remembered."
