"""An analysis as people read it: the recommendation, who said what, and what the gate leaves."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backtest.sessions import stamp_text
from ops.api import Analysis


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Print an analysis."""
    console.print(
        f"[bold]{analysis.symbol}: {analysis.recommendation}[/bold]  "
        f"conviction {analysis.conviction:+.2f}, confidence {analysis.confidence:.2f}, "
        f"target weight {analysis.target_weight:.2%}, allowed {analysis.allowed_weight:.2%}"
        + (f" (cut by {analysis.limit})" if analysis.limit else "")
    )
    console.print(
        f"as of {stamp_text(analysis.as_of)}, the newest session of {analysis.source}; "
        f"minds: {analysis.minds}"
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("junior", "score", "confidence", "says", "id"):
        table.add_column(name, justify="right" if name in ("score", "confidence") else "left")
    for opinion in analysis.opinions:
        table.add_row(
            opinion.junior,
            f"{opinion.score:+.2f}",
            f"{opinion.confidence:.2f}",
            escape(opinion.rationale),
            opinion.opinion_id,
        )
    for abstention in analysis.abstentions:
        table.add_row(abstention.junior, "–", "–", escape(f"abstains: {abstention.reason}"), "")
    console.print(table)
    if analysis.proposal is not None:
        console.print(f"strategist: {escape(analysis.proposal.rationale)}")
