"""
The report: one HTML file that needs nothing else, for someone who was not there.

What the run was and what is to be doubted come first, then the figures, the plots and the
decisions that mattered. plotly.js is held once, packed (its basic bundle, which draws lines and
bars), and the page may fetch nothing. Everything shown comes from the run's result and its
summary: no clock, no path, so the same run writes the same bytes. Nothing is measured here; the
templates hold the markup and escape all text.
"""

import base64
import gzip
import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from agents.messages import ROUTES
from backtest.report.calls import CallsView, calls_view
from backtest.report.charts import Chart, charts, dates
from backtest.report.figures import FiguresView, figures_view
from backtest.report.formats import MISSING, interval, number, percent
from backtest.report.headlines import headlines, verdict
from backtest.report.masking import MaskingView, masking_view
from backtest.report.printed_table import luck
from backtest.report.routes import RoutesView, routes_view
from backtest.report.views import Card, Fact, Headline, Row, Table, count_facts
from backtest.results import RunResult
from backtest.statistics import tallies
from backtest.statistics.measures import Undefined
from backtest.statistics.summary import Summary
from config.files.whole import write_whole

PACKAGE = "backtest.report"
TOP = 8  # decisions on each side of the table of those that mattered
COST_ROWS = 12
LONGEST_REASON = 280  # characters


@dataclass(frozen=True)
class CallRow:
    """One call that mattered: what was asked, what came of it, and its reason."""

    day: str
    symbol: str
    action: str
    weight: str
    instrument_return: str
    effect: str
    helped: bool
    route: str
    reason: str
    decision_id: str


@dataclass(frozen=True)
class CostsView:
    """What was paid per instrument; `rest` is what the first table has no room for."""

    table: Table
    rest: Table | None


@dataclass(frozen=True)
class ReportView:
    """Everything that `report.html.j2` draws, in its order; None leaves a section out."""

    notes: tuple[str, ...]
    facts: tuple[Fact, ...]
    verdict: str
    headlines: tuple[Headline, ...]
    cards: tuple[Card, ...]
    figures: FiguresView
    charts: tuple[Chart, ...]
    routes: RoutesView | None
    decisions: tuple[CallRow, ...]
    costs: CostsView | None
    calls: CallsView | None
    masking: MaskingView | None
    counts: tuple[Fact, ...]
    chart_data: dict[str, Any]


def write_report(result: RunResult, summary: Summary, path: Path) -> None:
    """
    Write the report of a run to `path`, whole or not at all.

    `summary` is what `summarise` returned for the same result.
    """
    template = _environment().get_template("report.html.j2")
    write_whole(path, template.render(view=report_view(result, summary)).encode())


def report_view(result: RunResult, summary: Summary) -> ReportView:
    """Return everything that a run's report shows."""
    plots = tuple(charts(result))
    masking = summary.masking
    return ReportView(
        notes=summary.notes,
        facts=_facts(result, summary),
        verdict=verdict(summary),
        headlines=tuple(_headline(line) for line in headlines(summary)),
        cards=_cards(summary),
        figures=figures_view(summary),
        charts=plots,
        routes=routes_view(result),
        decisions=_decisions(result),
        costs=_costs(result),
        calls=calls_view(summary.language_models),
        masking=None if masking is msgspec.UNSET else masking_view(masking),
        counts=_counts(summary.counts),
        chart_data=_chart_data(plots),
    )


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    found.globals["asset"] = _asset
    found.globals["packed"] = _packed
    return found


def _asset(name: str) -> str:
    """Return a script or a style of the templates, which the page holds as it is."""
    return files(PACKAGE).joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _packed(name: str) -> str:
    """Return a script of the templates as base64 over gzip: a third of its size."""
    return base64.b64encode(gzip.compress(_asset(name).encode(), mtime=0)).decode()


def _chart_data(plots: Sequence[Chart]) -> dict[str, Any]:
    """
    Return the plots' specs for the page's script.

    Lines share their dates, which are most of the page's data: each distinct x stands once under
    `axes`, and a trace's `x` is its place there. Names are escaped: plotly reads some HTML in
    text, and a group may be called anything.
    """
    axes: dict[tuple[Any, ...], int] = {}
    specs = [
        {
            "name": plot.name,
            "height": plot.height,
            "layout": plot.layout,
            "data": [
                trace
                | {
                    "name": html.escape(trace["name"], quote=False),
                    "x": axes.setdefault(tuple(trace["x"]), len(axes)),
                }
                for trace in plot.data
            ],
        }
        for plot in plots
    ]
    return {"axes": list(axes), "charts": specs}


def _facts(result: RunResult, summary: Summary) -> tuple[Fact, ...]:
    """Return what the run was: data, window, minds, policies, ids."""
    data = result.manifest.get("data") or {}
    data = data if isinstance(data, dict) else {"name": data}
    first, last = dates(result.book.ts[[0, -1]])
    return (
        Fact("data", str(data.get("name", "unnamed"))),
        Fact("window", f"{first} to {last}, {summary.sessions} sessions"),
        Fact("minds", _joined({d.minds for d in result.decisions})),
        Fact("allocator, top", _joined({d.allocation.top_policy for d in result.decisions})),
        Fact("allocator, bottom", _joined({d.allocation.bottom_policy for d in result.decisions})),
        Fact("run id", result.run_id),
        Fact("data digest", str(data.get("digest", MISSING))[:16]),
        Fact("seed", f"{result.manifest.get('seed', MISSING)} (bootstrap {summary.seed})"),
    )


def _joined(names: set[str]) -> str:
    return ", ".join(sorted(names)) or MISSING


def _headline(line: str) -> Headline:
    """Return a sentence with its subject apart, where it has one before a colon."""
    head, colon, rest = line.partition(": ")
    return Headline(head, rest) if colon else Headline("", line)


def _cards(summary: Summary) -> tuple[Card, ...]:
    own, trials = summary.books[0].figures, summary.trials
    if isinstance(own.deflated_sharpe, Undefined):
        named, note = "probabilistic", "a single kind of trial"
    else:
        named, note = "deflated", f"of {trials.effective} kinds of {trials.counted} trials"
    covered = f"of {own.var_sessions} sessions, Kupiec p {number(own.kupiec_p)}"
    longest = f"{own.drawdown_sessions} sessions"
    return (
        Card("annual return", percent(own.annual_return, sign=True), "compound, after costs"),
        Card("Sharpe ratio", number(own.sharpe), f"95% {interval(own.sharpe_interval)}"),
        Card(f"{named} Sharpe ratio", luck(own).removesuffix("p"), note),
        Card("largest drawdown", percent(own.max_drawdown), longest),
        Card("VaR coverage", percent(own.var_coverage), covered),
        Card("costs", percent(own.costs_frac), "of starting equity"),
    )


def _decisions(result: RunResult) -> tuple[CallRow, ...]:
    """Return the calls that helped most, then those that hurt most, the worst last."""
    helped, hurt = tallies.weightiest(result, TOP)
    return tuple(_call(c) for c in (*helped, *reversed(hurt)))


def _call(call: tallies.Call) -> CallRow:
    decision, symbol = call.decision, call.outcome.symbol
    action, why = MISSING, ""
    for proposal in decision.proposals:
        if proposal.symbol == symbol:
            action = f"{proposal.action} {proposal.conviction:+.2f}"
            why = proposal.rationale
    if len(why) > LONGEST_REASON:
        why = why[:LONGEST_REASON].rstrip() + "…"
    return CallRow(
        day=dates(np.array([decision.ts_event], dtype=np.int64))[0],
        symbol=symbol,
        action=action,
        weight=percent(call.weight),
        instrument_return=percent(call.outcome.instrument_return, sign=True),
        effect=percent(call.effect, 2, sign=True),
        helped=call.effect > 0.0,
        route=" + ".join(ROUTES[call.outcome.arm]),
        reason=why,
        decision_id=decision.decision_id,
    )


def _costs(result: RunResult) -> CostsView | None:
    """Return what was paid per instrument beside what the default rate would have charged."""
    costs = tallies.costs_by_symbol(result)
    if not costs:
        return None

    def row(name: str, of: Sequence[tallies.Costs], css: str = "") -> Row:
        paid, at_default = sum(c.paid for c in of), sum(c.at_default for c in of)
        return Row(
            name, (f"{sum(c.fills for c in of):,}", f"{paid:,.2f}", f"{at_default:,.2f}"), css
        )

    listed = tuple(row(c.symbol, [c]) for c in costs)
    heads = ("fills", "commissions paid", "at the default rate")
    shown, rest = listed[:COST_ROWS], listed[COST_ROWS:]
    return CostsView(
        table=Table("instrument", heads, (*shown, row("all", costs, "total"))),
        rest=Table("instrument", heads, rest) if rest else None,
    )


def _counts(counts: tallies.Counts) -> tuple[Fact, ...]:
    flat = {k: v for k, v in msgspec.structs.asdict(counts).items() if isinstance(v, int)}
    silent = {f"abstentions, {name}": n for name, n in counts.abstentions_by_junior.items()}
    return count_facts(flat | silent)
