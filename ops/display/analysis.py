"""Prints an analysis: what the desk would do, who said what, who overruled whom."""

from rich.console import Console
from rich.markup import escape

from backtest.market.sessions import stamp_text
from ops.api import Analysis
from ops.printing import make_table


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Print an analysis."""
    cut = f" (cut by {analysis.limit})" if analysis.limit else ""
    console.print(
        f"[bold]{analysis.symbol}: {analysis.recommendation}[/bold]  "
        f"held {analysis.held_weight:.2%}, target weight {analysis.target_weight:.2%}, "
        f"allowed {analysis.allowed_weight:.2%}{cut}",
        soft_wrap=True,
    )
    console.print(escape(strategist_line(analysis)), soft_wrap=True)
    console.print(
        f"as of {stamp_text(analysis.as_of)}, the newest session of {escape(analysis.source)}; "
        f"minds: {analysis.minds}",
        soft_wrap=True,
    )
    rows = [
        (o.junior, f"{o.score:+.2f}", f"{o.confidence:.2f}", escape(o.rationale), o.opinion_id)
        for o in analysis.opinions
    ]
    rows += [
        (a.junior, "–", "–", escape(f"abstains: {a.reason}"), "") for a in analysis.abstentions
    ]
    heads, words = ("junior", "score", "confidence", "says", "id"), ("junior", "says", "id")
    console.print(make_table(None, heads, rows, words, box=None, padding=(0, 2, 0, 0)))
    if analysis.proposal is not None:
        console.print(f"strategist: {escape(analysis.proposal.rationale)}")


def strategist_line(analysis: Analysis) -> str:
    """Return what the strategist says and, where the desk does otherwise, who overruled it."""
    said = "the strategist abstains"
    if analysis.strategist != "ABSTAIN":
        said = (
            f"the strategist says {analysis.strategist}, conviction {analysis.conviction:+.2f}, "
            f"confidence {analysis.confidence:.2f}"
        )
    if not analysis.overruled:
        return said
    change = abs(analysis.allowed_weight - analysis.held_weight)
    does = {
        "BUY": f"the desk would buy {change:.2%}",
        "SELL": f"the desk would sell {change:.2%}",
        "HOLD": "the desk would send no order",
    }[analysis.recommendation]
    return f"{said}; {does}, because {analysis.overruled}"
