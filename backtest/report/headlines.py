"""
Sentences on what a run shows: what its gate cost and what its minds added.

They stand on the report's first screen and under the printed table. Each is made of what
`summarise` returned; a figure that the run does not determine is left out, never guessed.
"""

from msgspec import UNSET

from agents.allocator.views import BlackLittermanBottom
from backtest.report.formats import interval, number, percent, percent_interval, strategy
from backtest.statistics.book_figures import BookFigures
from backtest.statistics.differences import Difference
from backtest.statistics.measures import Undefined
from backtest.statistics.summary import Summary

OFF = {"no_stop": "without the stop", "gross_only": "with gross alone limited"}
FORMS = {"gross_only": "without limits", "no_stop": "under the gate"}


def headlines(summary: Summary) -> list[str]:
    """Return the sentences on the gate, the minds, expired decisions and the book's capacity."""
    lines = (gate_costs(summary), minds_add(summary), expired(summary), capacity(summary))
    return [line for line in lines if line]


def gate_costs(summary: Summary) -> str:
    """Return what the same decisions earned under a lighter gate, and how sure that is."""
    said = []
    for row in summary.gate_costs:
        book = _variant(summary, row.gate)
        said.append(
            f"{OFF[row.gate]} the same decisions return "
            f"{percent(book.total_return, sign=True)} (Sharpe {number(book.sharpe)}): "
            f"{_gap(row.figures)}"
        )
    if not said:
        return ""
    own = summary.books[0].figures
    traded = f"{percent(own.total_return, sign=True)} (Sharpe {number(own.sharpe)})"
    return f"What the gate costs: as traded {traded}; {'; '.join(said)}."


def minds_add(summary: Summary) -> str:
    """Return by how much the hierarchy beats buy-and-hold, without limits and under the gate."""
    said = [f"{FORMS[row.gate]} {_gap(row.figures)}" for row in summary.minds_add]
    if not said:
        return ""
    line = f"What the minds add to holding: {'; '.join(said)}."
    untrained = summary.bottom_policies == (BlackLittermanBottom.name,)
    if untrained and not summary.counts.views:
        line += " No view moved a weight: the baseline allocation alone decided."
    return line


def expired(summary: Summary) -> str:
    """Return how many decisions expired, "" for none."""
    count = summary.counts.expired_decisions
    plural = "decision" if count == 1 else "decisions"
    return f"{count:,} {plural} expired before they could be traded." if count else ""


def capacity(summary: Summary) -> str:
    """Return the equity up to which the book's orders are small, "" where no volume is known."""
    account = summary.account
    most = summary.capacity_usd if account is UNSET else account.capacity
    if most is None:
        return ""
    unit = "$" if account is UNSET else f"{account.currency} "
    return f"Orders reach 10% of mean daily volume at about {unit}{_rounded(most)} of equity."


def verdict(summary: Summary) -> str:
    """Return in words what the hierarchy's figures do and do not show."""
    own = summary.books[0].figures
    said = (
        f"The hierarchy returned {percent(own.total_return, sign=True)} after costs "
        f"and at worst stood {percent(own.max_drawdown)} below its high."
    )
    if not isinstance(own.sharpe_interval, Undefined):
        low, high = own.sharpe_interval
        reading = (
            "which includes 0, so luck alone could explain it"
            if low <= 0.0 <= high
            else "which lies above 0"
            if low > 0.0
            else "which lies below 0"
        )
        bounds = interval(own.sharpe_interval)
        said += f" Its Sharpe ratio is {number(own.sharpe)}, 95% interval {bounds}, {reading}."
    elif isinstance(own.sharpe, Undefined):
        said += f" It has no Sharpe ratio: {own.sharpe.reason}."
    for row in summary.differences:
        known = not isinstance(row.figures.mean_interval, Undefined)
        if known and row.gate == "gross_only":
            said += f" Against {strategy(row.baseline)}: {_gap(row.figures)}."
    return said


def _gap(found: Difference) -> str:
    """Return a paired difference with its interval, in return and in Sharpe: "+1.2% a year …"."""
    bounds = found.mean_interval
    if isinstance(bounds, Undefined):
        return f"not measured ({bounds.reason})"
    real = "more than noise" if bounds[0] > 0.0 or bounds[1] < 0.0 else "within noise"
    of_sharpe = "" if isinstance(found.sharpe, Undefined) else f", {found.sharpe:+.2f} of Sharpe"
    return f"{percent(found.mean, sign=True)} a year {percent_interval(bounds)}{of_sharpe}, {real}"


def _variant(summary: Summary, gate: str) -> BookFigures:
    """Return the figures of the hierarchy's unstressed book under a gate."""
    name = summary.books[0].name
    return next(
        row.figures
        for row in summary.books
        if row.name == name and row.gate == gate and not row.stress
    )


def _rounded(amount: float) -> str:
    """Return an amount in two significant digits: "1.2 million"."""
    for size, word in ((1e9, " billion"), (1e6, " million")):
        if amount >= size:
            few = amount < 100 * size
            return f"{amount / size:.2g}{word}" if few else f"{amount / size:,.0f}{word}"
    return f"{float(f'{amount:.2g}'):,.12g}"
