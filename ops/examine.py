"""
`evaluate allocator`: a training's policies on held-out sessions, as a table, a plot and JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from backtest.sessions import stamp_text
from config.allocator import TrainingSettings
from config.errors import ConfigError
from ops.allocator import read_settings

RESULT, PLOT = "examination.json", "examination.png"
COLOURS = ("#1f77b4", "#ff7f0e", "#2a9d6f", "#d62728", "#7f7f7f", "#9467bd", "#8c564b", "#17becf")


@dataclass(frozen=True)
class Request:
    """
    What the command line asked for.

    `source` and `after` (YYYY-MM-DD) name another market than the one that was trained on, and
    the day after which it is held out; `cost_frac` another cost per fill; `windows` how many of
    the held-out ones, None for all.
    """

    training: Path
    out: Path
    source: str | None
    after: str
    own_costs: bool
    cost_frac: float | None
    windows: int | None
    oracles: bool


def examine(request: Request, *, as_json: bool) -> None:
    """Run what a training left on sessions that it never saw, and show what it is worth."""
    from learning.allocator.examine import examine as run
    from learning.allocator.phases import embeddings_of, open_book, policies_by_phase

    console = Console(stderr=as_json)
    settings = _settings(request)
    book, parts, _ = open_book(settings)
    windows = parts.test
    if request.source is not None:
        book, windows = _elsewhere(request, settings)
    windows = windows[: request.windows]
    phases = policies_by_phase(request.training, settings.book.name)
    if not phases:
        raise ConfigError(f"expected a finished phase in {request.training}, was none")
    with console.status("running") as status:
        examined, paths = run(
            book,
            windows,
            settings.trading,
            phases,
            seed=settings.seed,
            oracles=request.oracles,
            processes=settings.processes,
            embed=lambda folder: embeddings_of(book, folder),
            progress=lambda what: status.update(what),
        )
    report = {
        "training": request.training.name,
        "source": book.source,
        "windows": [[w.market, w.start, w.stop] for w in windows],
        "first": stamp_text(min(int(book.ts[w.market, w.start]) for w in windows)),
        "last": stamp_text(max(int(book.ts[w.market, w.stop]) for w in windows)),
        "cost_frac": settings.market.cost_frac,
        "own_costs": settings.book.own_costs,
        "notes": list(book.notes),
        **msgspec.to_builtins(examined),
    }
    request.out.mkdir(parents=True, exist_ok=True)
    (request.out / RESULT).write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    _plot(paths, request.out / PLOT)
    if as_json:
        print(json.dumps(report))
        return
    _print(report, console)
    console.print(f"figures: {request.out / RESULT}, plot: {request.out / PLOT}", soft_wrap=True)


def _settings(request: Request) -> TrainingSettings:
    """Return the settings that a training was begun with, with other costs where asked for."""
    settings = read_settings(request.training)
    if request.own_costs:
        book = msgspec.structs.replace(settings.book, own_costs=True)
        settings = msgspec.structs.replace(settings, book=book)
    if request.cost_frac is not None:
        market = msgspec.structs.replace(settings.market, cost_frac=request.cost_frac)
        settings = msgspec.structs.replace(settings, market=market)
    return settings


def _elsewhere(request: Request, settings: TrainingSettings) -> tuple[Any, Any]:
    from backtest.sources import open_source
    from learning.allocator.book import held_out, real_book

    assert request.source is not None
    book = real_book(
        settings.book.name,
        open_source(request.source),
        settings.trading,
        symbols=settings.book.symbols,
        own_costs=settings.book.own_costs,
    )
    return book, held_out(book, settings.episode, after=request.after)


def _plot(paths: dict[str, Any], path: Path) -> None:
    from backtest.curves import Curve, Panel, write_curves

    curves = []
    for (name, run), colour in zip(paths.items(), COLOURS, strict=False):
        growth = np.nan_to_num(run.growth).mean(axis=0)
        worth = np.cumprod(1.0 + growth)
        curves.append(Curve(name, colour, np.arange(len(worth)), worth[None]))
    panel = Panel("Held out, net of costs: mean over windows", "sessions", "equity", tuple(curves))
    write_curves(path, (panel,))


def _print(report: dict[str, Any], console: Console) -> None:
    for scope, verdicts in report["verdicts"].items():
        title = f"{scope}: {verdicts[0]['sessions']:,} held-out sessions"
        table = Table(title=title, box=SIMPLE, padding=(0, 0))
        for head in (
            "policy",
            "Sharpe",
            "95%",
            "return",
            "drawdown",
            "wins",
            "turnover",
            "VaR ok",
        ):
            left = head == "policy"
            table.add_column(head, justify="left" if left else "right", no_wrap=left)
        for v in verdicts:
            bounds = v["sharpe_interval"]
            table.add_row(
                v["name"],
                _text(v["sharpe"], "{:.2f}"),
                "-" if bounds is None else f"[{bounds[0]:.2f}, {bounds[1]:.2f}]",
                _text(v["annual_return"], "{:.1%}"),
                f"{v['max_drawdown']:.1%}",
                f"{v['win_rate']:.1%}",
                f"{v['turnover']:.1f}",
                f"{v['var_compliance']:.1%}",
            )
        if scope in report["oracles"]:
            oracles = report["oracles"][scope]
            for name in ("state", "filter", "filter_in_twin"):
                mean = float(np.mean(oracles[name]))
                table.add_row(f"{name.replace('_', ' ')} oracle", f"{mean:.2f}", *["-"] * 6)
        console.print(table)
    for name, d in report["differences"].items():
        bounds = d["sharpe_interval"]
        if d["sharpe"] is not None and bounds is not None:
            console.print(
                f"{name}: {d['sharpe']:+.2f} [{bounds[0]:+.2f}, {bounds[1]:+.2f}] of Sharpe",
                highlight=False,
            )


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
