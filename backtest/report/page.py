"""
The report: one HTML file that needs nothing else, for someone who was not there.

What the run was and what is to be doubted come first, then the figures, the plots and the
decisions that mattered. plotly.js is inlined once and the page may fetch nothing. Everything
shown comes from the run's result and its summary: no clock, no path, so the same run writes the
same bytes. It measures nothing itself. Text from outside is escaped.
"""

from __future__ import annotations

import json
import os
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from agents.messages import ROUTES, Decision
from backtest.report.calls import calls_section
from backtest.report.charts import Chart, charts, dates
from backtest.report.figures import figures_section, row_of
from backtest.report.formats import MISSING, interval, number, percent
from backtest.report.headlines import headlines, verdict
from backtest.report.paired import masking_section
from backtest.report.printed_table import luck
from backtest.report.routes import routes_section
from backtest.results import RunResult
from backtest.statistics import tallies

TOP = 8  # decisions on each side of the table of those that mattered
COST_ROWS = 12
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:"
)


def write_report(result: RunResult, summary: dict[str, Any], path: Path) -> None:
    """
    Write the report of a run to `path`, whole or not at all.

    `summary` is what `summarise` returned for the same result.
    """
    plots = charts(result)
    body = [
        _notes(summary),
        "<h1>Backtest report</h1>",
        _facts(result, summary),
        f'<p class="lead">{escape(verdict(summary))}</p>',
        _headlines(summary),
        _cards(summary),
        figures_section(summary),
        *(_figure(plot) for plot in plots),
        routes_section(result),
        _decisions(result),
        _costs(result, summary),
        calls_section(summary["language_models"]),
        masking_section(summary["masking"]) if "masking" in summary else "",
        _counts(summary),
    ]
    half = path.with_name(f"{path.name}.part")
    half.write_text(_page("\n".join(body), plots), encoding="utf-8")
    os.replace(half, path)


def _page(body: str, plots: list[Chart]) -> str:
    from plotly.offline import get_plotlyjs

    specs = json.dumps(
        [{"name": p.name, "height": p.height, "data": p.data, "layout": p.layout} for p in plots],
        separators=(",", ":"),
        allow_nan=False,
    ).replace("<", "\\u003c")
    source = files("backtest.report")
    style = source.joinpath("report.css").read_text(encoding="utf-8")
    script = source.joinpath("report.js").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>Quarterdeck backtest</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
<script>{get_plotlyjs()}</script>
<script type="application/json" id="charts">{specs}</script>
<script>
{script}</script>
</body>
</html>
"""


def _notes(summary: dict[str, Any]) -> str:
    lines = "".join(f"<li>{escape(note)}</li>" for note in summary["notes"])
    return f'<ul class="notes">{lines}</ul>' if lines else ""


def _facts(result: RunResult, summary: dict[str, Any]) -> str:
    """Return what the run was: data, window, minds, policies, ids."""
    data = result.manifest.get("data") or {}
    data = data if isinstance(data, dict) else {"name": data}
    first, last = dates(result.book.ts[[0, -1]])
    facts = {
        "data": data.get("name", "unnamed"),
        "window": f"{first} to {last}, {summary['sessions']} sessions",
        "minds": _joined({d.minds for d in result.decisions}),
        "allocator, top": _joined({d.allocation.top_policy for d in result.decisions}),
        "allocator, bottom": _joined({d.allocation.bottom_policy for d in result.decisions}),
        "run id": result.run_id,
        "data digest": str(data.get("digest", MISSING))[:16],
        "seed": f"{result.manifest.get('seed', MISSING)} (bootstrap {summary['seed']})",
    }
    cells_ = "".join(
        f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in facts.items()
    )
    return f'<dl class="facts">{cells_}</dl>'


def _joined(names: set[str]) -> str:
    return ", ".join(sorted(names)) or MISSING


def _headlines(summary: dict[str, Any]) -> str:
    """Return the sentences on the gate and the minds, each with its subject in bold."""
    items = []
    for line in headlines(summary):
        head, colon, rest = line.partition(": ")
        items.append(
            f"<li><b>{escape(head)}:</b> {escape(rest)}</li>"
            if colon
            else f"<li>{escape(line)}</li>"
        )
    return f'<ul class="headlines">{"".join(items)}</ul>' if items else ""


def _cards(summary: dict[str, Any]) -> str:
    own = summary["books"][0]["figures"]
    named = "deflated" if own["deflated_sharpe"] is not None else "probabilistic"
    trials = summary["trials"]
    note = f"of {trials['effective']} kinds of {trials['counted']} trials"
    if named == "probabilistic":
        note = "a single kind of trial"
    shown = (
        ("annual return", percent(own["annual_return"], sign=True), "compound, after costs"),
        ("Sharpe ratio", number(own["sharpe"]), f"95% {interval(own['sharpe_interval'])}"),
        (f"{named} Sharpe ratio", luck(own).removesuffix("p"), note),
        ("largest drawdown", percent(own["max_drawdown"]), f"{own['drawdown_sessions']} sessions"),
        (
            "VaR coverage",
            percent(own["var_coverage"]),
            f"of {own['var_sessions']} sessions, Kupiec p {number(own['kupiec_p'])}",
        ),
        ("costs", percent(own["costs_frac"]), "of starting equity"),
    )
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><span>{escape(a)}</span><b>{escape(b)}</b>'
            f"<span>{escape(c)}</span></div>"
            for a, b, c in shown
        )
        + "</div>"
    )


def _figure(plot: Chart) -> str:
    toggle = (
        '<label><input type="checkbox" id="log-scale"> log scale</label>'
        if plot.name == "equity"
        else ""
    )
    return f"""<figure><div class="head"><h2>{escape(plot.title)}</h2>{toggle}</div>
<div class="plot" id="plot-{plot.name}" style="height:{plot.height}px"></div>
<figcaption>{escape(plot.caption)}</figcaption></figure>"""


def _decisions(result: RunResult) -> str:
    """Return the calls that helped most and hurt most, with their reasons and ids."""
    helped, hurt = tallies.weightiest(result, TOP)
    rows = "".join(_call(c) for c in (*helped, *reversed(hurt)))
    if not rows:
        return ""
    return f"""<section>
<h2>Decisions that mattered</h2>
<p class="soft">The calls that helped most, then those that hurt most, by the weight asked times
what the instrument did until the horizon's end. They are picked with hindsight: read them for
the reasons, not for the score. The id finds the whole decision in decisions.jsonl.</p>
<div class="scroll"><table><thead><tr><th>date</th><th class="text">instrument</th>
<th class="text">action</th><th>weight</th><th>return</th><th>effect</th>
<th class="text">asked</th><th class="text">reason and decision</th></tr></thead>
<tbody>{rows}</tbody></table></div></section>"""


def _call(call: tallies.Call) -> str:
    decision: Decision = call.decision
    symbol = call.outcome.symbol
    action, why = MISSING, ""
    for proposal in decision.proposals:
        if proposal.symbol == symbol:
            action = f"{proposal.action} {proposal.conviction:+.2f}"
            why = proposal.rationale
    if len(why) > 280:
        why = why[:280].rstrip() + "…"
    tint = "up" if call.effect > 0.0 else "down"
    day = str(_day(decision.ts_event))
    return (
        f'<tr><th scope="row">{day}</th><td class="text">{escape(symbol)}</td>'
        f'<td class="text">{escape(action)}</td><td>{percent(call.weight)}</td>'
        f"<td>{percent(call.outcome.instrument_return, sign=True)}</td>"
        f'<td class="{tint}">{percent(call.effect, 2, sign=True)}</td>'
        f'<td class="text">{escape(" + ".join(ROUTES[call.outcome.arm]))}</td>'
        f'<td class="reason">{escape(why)}<br><span class="id soft">'
        f"{escape(decision.decision_id)}</span></td></tr>"
    )


def _day(stamp: int) -> str:
    import numpy as np

    return dates(np.array([stamp], dtype=np.int64))[0]


def _costs(result: RunResult, summary: dict[str, Any]) -> str:
    """Return what was paid per instrument beside what the default rate would have charged."""
    costs = tallies.costs_by_symbol(result)
    if not costs:
        return ""

    def row(name: str, fills: int, paid: float, at_default: float, css: str = "") -> str:
        return row_of(name, [f"{fills:,}", f"{paid:,.2f}", f"{at_default:,.2f}"], css)

    listed = [row(c.symbol, c.fills, c.paid, c.at_default) for c in costs]
    sums = (sum(c.fills for c in costs), sum(c.paid for c in costs))
    total = row("all", *sums, sum(c.at_default for c in costs), "total")
    shown, rest = listed[:COST_ROWS], listed[COST_ROWS:]
    head = (
        "<thead><tr><th>instrument</th><th>fills</th><th>commissions paid</th>"
        "<th>at the default rate</th></tr></thead>"
    )
    more = (
        f"<details><summary>{len(rest)} more instruments</summary><table>{head}"
        f"<tbody>{''.join(rest)}</tbody></table></details>"
        if rest
        else ""
    )
    return f"""<section><h2>Costs</h2>
<p class="soft">The hierarchy's commissions in the account's currency, beside what the default
rate would have charged: they differ where an instrument has a cost of its own. Spread and
slippage are in the fill prices, not here.</p>
<div class="scroll"><table>{head}<tbody>{"".join(shown)}{total}</tbody></table></div>{more}
</section>"""


def _counts(summary: dict[str, Any]) -> str:
    counts = summary["counts"]
    flat = {k: v for k, v in counts.items() if not isinstance(v, dict)}
    flat = {k.replace("_", " "): v for k, v in flat.items()}
    flat |= {f"abstentions, {j}": v for j, v in counts["abstentions_by_junior"].items()}
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{v:,}</dd></div>" for k, v in flat.items())
    return f'<section><h2>Counts</h2><dl class="facts">{items}</dl></section>'
