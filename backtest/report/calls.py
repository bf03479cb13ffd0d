"""
The report's section on language models: what was asked, answered, refused and spent, by role.

Latencies are those that were recorded with the answers, so that a replayed run's report is the
recorded one's. Nothing here knows a backend.
"""

from __future__ import annotations

from dataclasses import dataclass

from backtest.report.views import Row, Table
from backtest.results import Calls, RoleCalls

COLUMNS = ("asked", "answered", "failed", "prompt tokens", "answer tokens", "p50 s", "p95 s")


@dataclass(frozen=True)
class CallsView:
    """The section on language models; `failures` names each kind by role."""

    rounds: str
    most_rounds: int
    failures: str
    table: Table


def calls_view(calls: Calls | None) -> CallsView | None:
    """Return the section, None where no language model was asked."""
    if calls is None or not calls.roles:
        return None
    failures = sorted(
        (kind, role, count)
        for role, row in calls.roles.items()
        for kind, count in row.failures.items()
    )
    said = ", ".join(f"{kind} ({role}) {count:,}" for kind, role, count in failures)
    rows = tuple(Row(role, _cells(row)) for role, row in calls.roles.items())
    return CallsView(
        rounds=f"{calls.rounds:,}",
        most_rounds=calls.max_rounds_of_decision,
        failures=said or "none",
        table=Table("role", COLUMNS, rows),
    )


def _cells(row: RoleCalls) -> tuple[str, ...]:
    return (
        f"{row.requests:,}",
        f"{row.answers:,}",
        f"{sum(row.failures.values()):,}",
        f"{row.prompt_tokens:,}",
        f"{row.completion_tokens:,}",
        f"{row.latency_p50_seconds:.2f}",
        f"{row.latency_p95_seconds:.2f}",
    )
