"""Prints how a trained supervisor routes on sessions that it did not learn from."""

from pathlib import Path
from typing import Any

from rich.console import Console

from ops.printing import make_table, print_json


def print_validation(report: dict[str, Any], state: Path, console: Console, as_json: bool) -> None:
    """Print each router's figures on the sessions held back, and where the state is."""
    if as_json:
        print_json(report)
        return
    heads = ("router", "mean reward", "right in hindsight", "regret share", "vs always-all")
    rows = []
    for name, row in report["routers"].items():
        bounds, share = row["against_always_all_interval"], row["regret_share"]
        interval = "" if bounds is None else f" [{bounds[0]:+.4f}, {bounds[1]:+.4f}]"
        rows.append(
            (
                name,
                f"{row['mean_reward']:+.4f}",
                f"{row['accuracy_in_hindsight']:.1%}",
                "-" if share is None else f"{share:.3f}",
                f"{row['against_always_all']:+.4f}{interval}",
            )
        )
    console.print(make_table("Validation, on the last fifth of the sessions", heads, rows))
    console.print(
        f"trained on {report['trained_on']['cases']:,} cases until {report['learned_until']}; "
        f"weight of the net beside the line {report['trust_in_net']:.2f}. The best route in "
        "hindsight is mostly luck: compare routers with each other.",
        highlight=False,
    )
    console.print(f"state: {state}", soft_wrap=True)
