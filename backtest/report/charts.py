"""
The report's plots as plotly specifications: plain dicts of data and layout, in reading order.

Text and grid colours are left to the page, which knows whether it is dark. Only trace types of
plotly's basic bundle are used: scatter and bar.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.arrays import FloatArray, IntArray
from agents.messages import ROUTES
from backtest.report.formats import strategy
from backtest.report.printed_table import GATES
from backtest.report.routes import route_log
from backtest.results import PositionHistory, RunResult
from backtest.statistics import tallies
from backtest.statistics.measures import drawdowns

HERO = "#2f7de1"
BASELINES = ("#e08a1e", "#2a9d6f", "#b25fc4", "#c9504c", "#7c8a99")
# twelve hues that stay apart from their neighbours on light and on dark ground
HUES = (
    *("#4c8fdb", "#e39a3b", "#3fa77c", "#c46fb5", "#d9605a", "#8f9b3c", "#39a5b4"),
    *("#9b7bd4", "#b98253", "#6f8799", "#d78aa0", "#5f9e4a"),
)
BREACH = "#e5484d"
QUIET = "#8a94a0"
ROLLING = 63  # sessions, a quarter
FEWEST_CALLS = 30


@dataclass(frozen=True)
class Chart:
    """One plot: an id for its element, a title, a sentence on how to read it, and its spec."""

    name: str
    title: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int = 360


def charts(result: RunResult) -> list[Chart]:
    """Return the report's plots in reading order."""
    return [
        equity(result),
        drawdown(result),
        exposure(result),
        routes(result),
        route_rewards(result),
        hit_rate(result),
        value_at_risk(result),
        cuts(result),
    ]


def dates(stamps: IntArray) -> list[str]:
    """Return the UTC dates of stamps in nanoseconds."""
    days: list[str] = np.datetime_as_string(
        np.asarray(stamps, dtype="datetime64[ns]"), unit="D"
    ).tolist()
    return days


def _rounded(values: FloatArray, digits: int) -> list[float | None]:
    """Return values for JSON: rounded, None where not finite."""
    rounded = np.round(values, digits)
    return [v if ok else None for v, ok in zip(rounded.tolist(), np.isfinite(values), strict=True)]


def _lines(result: RunResult) -> list[tuple[PositionHistory, dict[str, Any]]]:
    """Return every book with the look of its line; variants and gated baselines start hidden."""
    looks: list[tuple[PositionHistory, dict[str, Any]]] = []
    colours: dict[str, str] = {}
    for book in result.baselines:
        colour = colours.setdefault(book.name, BASELINES[len(colours) % len(BASELINES)])
        free = book.gate == "gross_only"
        name = strategy(book.name) + ("" if free else ", gated")
        line = {"color": colour, "width": 1.4, "dash": "solid" if free else "dot"}
        looks.append((book, _look(name, line, shown=free)))
    for book, dash in zip(result.variants, ("dash", "longdash", "dashdot", "dot"), strict=False):
        name = f"hierarchy, {book.stress or GATES[book.gate]}"
        looks.append((book, _look(name, {"color": HERO, "width": 1.4, "dash": dash}, shown=False)))
    return [*looks, (result.book, _look("hierarchy", {"color": HERO, "width": 2.6}, shown=True))]


def _look(name: str, line: dict[str, Any], *, shown: bool) -> dict[str, Any]:
    look = {"name": name, "type": "scatter", "mode": "lines", "line": line}
    return look if shown else look | {"visible": "legendonly"}


def equity(result: RunResult) -> Chart:
    """Plot every book's equity as a multiple of its start."""
    data = [
        look | {"x": dates(b.ts), "y": _rounded(b.equity / b.equity[0], 4)}
        for b, look in _lines(result)
    ]
    return Chart(
        "equity",
        "Growth of 1",
        "Each line is what one unit of starting money became after costs; the hierarchy has to "
        "end above the baselines to have been worth its trouble. Click a name to show or hide it: "
        "the hierarchy under other gates and the gated baselines start hidden.",
        data,
        {"yaxis": {"tickformat": ".2f"}, "hovermode": "x unified"},
        420,
    )


def drawdown(result: RunResult) -> Chart:
    """Plot every book's fall below its highest close."""
    data = [
        look | {"x": dates(b.ts), "y": _rounded(-drawdowns(b.equity), 4)}
        for b, look in _lines(result)
    ]
    data[-1] |= {"fill": "tozeroy", "fillcolor": "rgba(47,125,225,0.16)"}
    return Chart(
        "drawdown",
        "Drawdown",
        "How far each book stood below its own highest close: the deeper and longer a valley, the "
        "harder it was to sit through.",
        data,
        {"yaxis": {"tickformat": ",.1~%"}, "hovermode": "x unified"},
        300,
    )


def exposure(result: RunResult) -> Chart:
    """Plot the hierarchy's exposure by group, stacked, with its gross exposure as a line."""
    book = result.book
    days = dates(book.ts)
    data: list[dict[str, Any]] = []
    for k, (group, held) in enumerate(sorted(book.exposures.items())):
        for side, part in (("long", np.maximum(held, 0.0)), ("short", np.minimum(held, 0.0))):
            if side == "long" or part.any():
                data.append(
                    {
                        "type": "scatter",
                        "mode": "lines",
                        "name": group if side == "long" else f"{group}, short",
                        "x": days,
                        "y": _rounded(part, 4),
                        "stackgroup": side,
                        "line": {"width": 0, "color": HUES[k % len(HUES)]},
                    }
                )
    gross = {"color": QUIET, "width": 1.6, "dash": "dash"}
    data.append(
        {"type": "scatter", "mode": "lines", "name": "gross", "x": days, "line": gross}
        | {"y": _rounded(book.gross, 4)}
    )
    return Chart(
        "exposure",
        "Exposure by group",
        "The share of equity held in each group at each close, stacked; the dashed line is their "
        "gross sum, and what is missing to 100% was cash.",
        data,
        {"yaxis": {"tickformat": ".0%"}, "hovermode": "x unified"},
    )


def routes(result: RunResult) -> Chart:
    """Plot each arm's share of the routes, by month."""
    months, shares = tallies.routes_by_month(result)
    data = [
        {
            "type": "bar",
            "name": " + ".join(names),
            "x": months,
            "y": _rounded(shares[:, arm], 4),
            "marker": {"color": HUES[arm], "line": {"width": 0}},
        }
        for arm, names in enumerate(ROUTES)
    ]
    return Chart(
        "routes",
        "Routes by month",
        "Which analysts the supervisor asked, as shares of all routes in a month: seven even "
        "bands mean that it was still exploring, one wide band that it had made up its mind.",
        data,
        {
            "barmode": "stack",
            "bargap": 0.08,
            "yaxis": {"tickformat": ".0%", "range": [0, 1]},
            "xaxis": {"type": "category"},
        },
    )


def route_rewards(result: RunResult) -> Chart:
    """Plot what the routes earned and cost so far, by the session that closed them."""
    log = route_log(result)
    stamps, at = np.unique(log.ts, return_inverse=True)
    lines = (
        ("earned before costs", log.earned, HUES[2]),
        ("cost of asking", log.cost, HUES[4]),
        ("reward", log.reward, HERO),
    )
    data = [
        {"type": "scatter", "mode": "lines", "name": name, "x": dates(stamps)}
        | {"y": _rounded(np.cumsum(np.bincount(at, values)), 4), "line": {"color": colour}}
        for name, values, colour in lines
    ]
    return Chart(
        "route-rewards",
        "Reward of the routes, so far",
        "What the supervisor is paid for: conviction times return net of the market, in units of "
        "volatility, summed over closed routes, beside what asking the analysts cost.",
        data,
        {"yaxis": {"tickformat": ",.1f"}, "hovermode": "x unified"},
        300,
    )


def hit_rate(result: RunResult) -> Chart:
    """Plot each junior's share of opinions with the right sign, over a rolling quarter."""
    stamps = result.book.ts
    data = []
    for k, (junior, (ts, hits, calls)) in enumerate(tallies.hits_by_junior(result).items()):
        row = np.minimum(np.searchsorted(stamps, ts), len(stamps) - 1)
        sums = np.zeros((2, len(stamps) + 1))
        np.add.at(sums[0], row + 1, hits)
        np.add.at(sums[1], row + 1, calls)
        sums = sums.cumsum(axis=1)
        before = np.maximum(np.arange(1, len(stamps) + 1) - ROLLING, 0)
        hit, called = sums[:, 1:] - sums[:, before]
        enough = called >= FEWEST_CALLS
        rate = np.divide(hit, called, out=np.full(len(stamps), np.nan), where=enough)
        line = {"color": HUES[k], "width": 1.8}
        data.append(
            {"type": "scatter", "mode": "lines", "name": junior, "x": dates(stamps)}
            | {"y": _rounded(rate, 4), "line": line}
        )
    half = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0.5, "y1": 0.5}
    return Chart(
        "hits",
        "Hit rate by junior",
        f"The share of each analyst's opinions whose sign matched what the instrument then did, "
        f"over the last {ROLLING} sessions and at least {FEWEST_CALLS} opinions; the dotted line "
        "is a coin toss.",
        data,
        {
            "yaxis": {"tickformat": ".0%"},
            "xaxis": {"type": "date"},
            "shapes": [half | {"line": {"color": QUIET, "width": 1, "dash": "dot"}}],
            "hovermode": "x unified",
        },
        300,
    )


def value_at_risk(result: RunResult) -> Chart:
    """Plot the hierarchy's returns against the VaR of the close before."""
    stamps, before, returns = tallies.var_series(result.book)
    days = dates(stamps)
    broken = -returns > before
    line = {"color": HERO, "width": 1.6, "shape": "hv"}
    return Chart(
        "var",
        "Value at risk against what happened",
        "Each bar is one session's return and the line is the loss that the 99% VaR of the "
        "evening before allowed; red marks are sessions that lost more, about one in a hundred if "
        "the VaR is honest.",
        [
            {"type": "bar", "name": "return", "x": days, "y": _rounded(returns, 5)}
            | {"marker": {"color": QUIET, "line": {"width": 0}}},
            {"type": "scatter", "mode": "lines", "name": "99% VaR", "x": days, "line": line}
            | {"y": _rounded(-before, 5)},
            {"type": "scatter", "mode": "markers", "name": "loss beyond VaR"}
            | {"x": dates(stamps[broken]), "y": _rounded(returns[broken], 5)}
            | {"marker": {"color": BREACH, "size": 7, "symbol": "x"}},
        ],
        {"yaxis": {"tickformat": ".1%"}, "xaxis": {"type": "date"}, "bargap": 0},
        320,
    )


def cuts(result: RunResult) -> Chart:
    """Plot how often each limit cut a weight, by stage of the gate."""
    found = dict(reversed(tallies.cuts_by_limit(result).items()))
    names = [limit.replace("_", " ") for limit in found]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": {"risk": "the gate on its own"}.get(stage, f"at {stage}"),
            "y": names,
            "x": [by[stage] for by in found.values()],
            "marker": {"color": HUES[k]},
        }
        for k, stage in enumerate(("delivery", "dispatch", "risk"))
    ]
    return Chart(
        "cuts",
        "Cuts by limit",
        "How often each risk limit shrank or refused what the hierarchy asked for: a long bar is "
        "the limit that shaped the book most.",
        data,
        {"barmode": "stack", "yaxis": {"automargin": True}, "xaxis": {"tickformat": ",d"}},
        max(200, 90 + 34 * len(found)),
    )
