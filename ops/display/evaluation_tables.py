"""Prints what an evaluation of the allocator found, as tables."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ops.composition.training.allocator_evaluation import PLOT, RESULT
from ops.printing import make_table, print_json


def print_evaluation(
    report: dict[str, Any], folder: Path, console: Console, as_json: bool
) -> None:
    """Print policies, baselines and oracles beside each other, and where the figures are."""
    if as_json:
        print_json(report)
        return
    for scope, evaluations in report["evaluations"].items():
        title = f"{scope}: {evaluations[0]['sessions']:,} held-out sessions"
        table = Table(title=title, box=SIMPLE, padding=(0, 0))
        seeds = ("seeds",) if len(report["seeds"]) > 1 else ()
        heads = ("Sharpe", "95%", *seeds, "return", "drawdown", "wins", "turnover")
        heads += ("VaR in limit", "VaR cov", "loss in limit")
        for head in ("policy", *heads):
            left = head == "policy"
            table.add_column(head, justify="left" if left else "right", no_wrap=left)
        for v in evaluations:
            bounds = v["sharpe_interval"]
            table.add_row(
                v["name"],
                _text(v["sharpe"], "{:.2f}"),
                "-" if bounds is None else f"[{bounds[0]:.2f}, {bounds[1]:.2f}]",
                *[_spread(v["seeds"]) for _ in seeds],
                _text(v["annual_return"], "{:.1%}"),
                f"{v['max_drawdown']:.1%}",
                f"{v['win_rate']:.1%}",
                f"{v['turnover']:.1f}",
                _text(v["var_within_limit"], "{:.1%}"),
                _text(v["var_coverage"], "{:.1%}"),
                _text(v["loss_within_limit"], "{:.1%}"),
            )
        if scope in report["oracles"]:
            oracles = report["oracles"][scope]
            for name in ("state", "filter", "filter_in_twin"):
                mean = float(np.mean(oracles[name]))
                table.add_row(
                    f"{name.replace('_', ' ')} oracle", f"{mean:.2f}", *["-"] * (len(heads) - 1)
                )
        console.print(table)
    if report["shares"]:
        console.print(_share_table(report["shares"]))
    for name, d in report["differences"].items():
        bounds = d["sharpe_interval"]
        if d["sharpe"] is not None and bounds is not None:
            console.print(
                f"{name}: {d['sharpe']:+.2f} [{bounds[0]:+.2f}, {bounds[1]:+.2f}] of Sharpe",
                highlight=False,
            )
    for note in report["notes"]:
        console.print(f"note: {note}", highlight=False)
    if report["market_seeds"]:
        used = [report["market_seeds"][market] for market, _, _ in report["windows"]]
        console.print(f"simulated markets of the seeds {min(used)} to {max(used)}")
    console.print(f"figures: {folder / RESULT}, plot: {folder / PLOT}", soft_wrap=True)


def _share_table(shares: dict[str, Any]) -> Table:
    heads = ("", "policy", "as it reckons", "in the twin")
    rows = [
        (scope, name, _share(of["filter"]), _share(of["filter_in_twin"]))
        for scope, policies in shares.items()
        for name, of in policies.items()
    ]
    title = "Share of the filter oracle's Sharpe ratio, 95%"
    return make_table(title, heads, rows, words=heads[:2], box=SIMPLE, padding=0)


def _spread(seeds: list[float | None]) -> str:
    """Return the seeds' lowest and highest; a dash for a baseline, which has no seed."""
    known = [ratio for ratio in seeds if ratio is not None]
    return f"{min(known):.2f} to {max(known):.2f}" if len(known) > 1 else "-"


def _share(share: dict[str, Any]) -> str:
    bounds = share["interval"]
    value = _text(share["value"], "{:.0%}")
    return value if bounds is None else f"{value} [{bounds[0]:.0%}, {bounds[1]:.0%}]"


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
