"""
The report's section on language models: what was asked, answered, refused and spent, by role.

Latencies are those that were recorded with the answers, so that a replayed run's report is the
recorded one's. It knows no backend.
"""

from __future__ import annotations

from html import escape
from typing import Any

COLUMNS = ("asked", "answered", "failed", "prompt tokens", "answer tokens", "p50 s", "p95 s")


def calls_section(calls: dict[str, Any]) -> str:
    """Return the section, "" where no language model was asked."""
    roles: dict[str, Any] = calls.get("roles", {})
    if not roles:
        return ""
    rows = "".join(_row(role, row) for role, row in roles.items())
    heads = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    failures = sorted(
        (kind, role, count)
        for role, row in roles.items()
        for kind, count in row["failures"].items()
    )
    said = ", ".join(f"{kind} ({role}) {count:,}" for kind, role, count in failures)
    return f"""<section><h2>Language models</h2>
<p class="soft">Questions by role, with the latencies that were recorded when they were answered;
a failure of any kind is an abstention, never a hold. {calls["rounds"]:,} rounds were asked, at
most {calls["max_rounds_of_decision"]} for one decision. Failures: {escape(said or "none")}.</p>
<div class="scroll"><table><thead><tr><th>role</th>{heads}</tr></thead>
<tbody>{rows}</tbody></table></div></section>"""


def _row(role: str, row: dict[str, Any]) -> str:
    values = (
        f"{row['requests']:,}",
        f"{row['answers']:,}",
        f"{sum(row['failures'].values()):,}",
        f"{row['prompt_tokens']:,}",
        f"{row['completion_tokens']:,}",
        f"{row['latency_p50_seconds']:.2f}",
        f"{row['latency_p95_seconds']:.2f}",
    )
    cells = "".join(f"<td>{value}</td>" for value in values)
    return f'<tr><th scope="row">{escape(role)}</th>{cells}</tr>'
