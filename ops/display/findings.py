"""Prints what `data check` found."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from backtest.check import CheckReport, SymbolCheck
from backtest.sources.findings import FileFact
from ops.printing import make_table

COLUMNS = {
    "bars": "bars",
    "gaps": "gaps",
    "jumps": "jumps",
    "zero_volume": "no vol",
    "splits": "splits",
    "dividends": "divs",
    "news": "news",
    "fundamentals": "reports",
}
HEADS = ("symbol", "class", "in", "decimals", "lot", "first", "last", *COLUMNS.values())
FILES = ("files", "taken for", "as", "time zone", "rows", "symbols", "first", "last")
SHOWN = 10  # symbols whose gaps are named
WORDS = ("symbol", "class", "in", "files", "taken for", "as", "time zone", "symbols")


def print_check(report: CheckReport, console: Console) -> None:
    """
    Print what the files were taken for, a row a symbol, notes, and problems.

    The last line says whether the source is usable.
    """
    if report.files:
        console.print(_table(FILES, _grouped(report.files)))
        console.print()
    if report.rows:
        console.print(_table(HEADS, map(_row, report.rows)))
    holes = [row for row in report.rows if row.gaps]
    for row in holes[:SHOWN]:
        more = f" and {row.gaps - len(row.missing)} more" if row.gaps > len(row.missing) else ""
        missing = f"{row.symbol} has no bar on {', '.join(row.missing)}{more}"
        console.print(f"gap: {missing}", style="yellow", markup=False)
    if len(holes) > SHOWN:
        console.print(f"gap: {len(holes) - SHOWN} more symbols have gaps", style="yellow")
    for note in report.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    for problem in report.problems:
        console.print(f"problem: {problem}", style="red", markup=False)
    usable = "usable" if report.ok else f"{len(report.problems)} problems"
    traded = f", {report.sessions} sessions of {report.calendar}" if report.calendar else ""
    account = f", accounted in {report.account}" if report.account else ""
    console.print(f"{report.name}: {usable}{traded}{account}", markup=False)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    return make_table(
        None, heads, rows, words=WORDS, box=None, header_style="bold", pad_edge=False
    )


def _row(row: SymbolCheck) -> tuple[str, ...]:
    found = [getattr(row, name) for name in COLUMNS]
    counts = [str(len(c) if isinstance(c, tuple) else c) for c in found]
    facts = (row.asset_class, row.currency, str(row.decimals), f"{row.lot_size:g}")
    return (row.symbol, *facts, row.first, row.last, *counts)


def _grouped(files: Sequence[FileFact]) -> list[tuple[str, ...]]:
    """Return a row for all files that were taken for the same."""
    groups: dict[tuple[str, str, str], list[FileFact]] = {}
    for fact in files:
        groups.setdefault((fact.kind, fact.form, fact.zone), []).append(fact)
    out: list[tuple[str, ...]] = []
    for (kind, form, zone), facts in groups.items():
        more = f" and {len(facts) - 1} more" if len(facts) > 1 else ""
        symbols = facts[0].symbols if len(facts) == 1 else ""
        first = min((f.first for f in facts if f.first), default="")
        last = max((f.last for f in facts if f.last), default="")
        rows = f"{sum(f.rows for f in facts)}"
        out.append((f"{facts[0].file}{more}", kind, form, zone, rows, symbols, first, last))
    return out
