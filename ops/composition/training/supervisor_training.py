"""
Collects all seven routes of a source, and trains the supervisor on them.

A collection is known by the hash of all that can change it. Asked for again, it is read instead
of run; interrupted, it starts again, and language models answer from what was kept of them.
"""

import hashlib
from itertools import batched
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from agents.messages import JUNIORS
from backtest.market.sessions import stamp_text
from config.errors import ConfigError
from config.files.paths import check_file, check_folder
from config.files.whole import whole_folder
from config.settings import Settings
from config.sources import check_source
from ops.printing import PALETTE, progress_bar, write_json

REPORT, PLOT = "report.json", "validation.png"


def collect(settings: Settings, num: int, out: Path, console: Console) -> dict[str, Any]:
    """Collect `num` trajectories of a source into `out`, and return what they are."""
    check_source(settings.data.source)
    check_file(out)
    from ops.composition.run_market import open_market

    market, settings, start = open_market(settings)
    from backtest.identity import code_version
    from learning.supervisor.collect import collect_routes, plan_collect
    from learning.supervisor.table import read_meta, write_routes
    from ops.composition.model_minds import build_market_mind, open_models

    plan = plan_collect(market, settings, num, start)
    with open_models(settings) as models:
        mind = build_market_mind(plan.market, settings, models)
        meta: dict[str, Any] = {
            "source": market.name,
            "data_digest": plan.market.digest,
            "decide_from": plan.decide_from,
            "config_digest": settings.digest,
            "minds": {"kind": mind.name, **mind.models},
            "code": code_version(),
            "seed": settings.seed,
            "num": num,
        }
        meta["collection"] = hashlib.sha256(msgspec.json.encode(meta)).hexdigest()[:24]
        before = read_meta(out)
        kept = before is not None and before["collection"] == meta["collection"]
        if kept:
            assert before is not None
            meta = before
        else:
            with progress_bar(console) as bar:
                task = bar.add_task("sessions", total=len(plan.market.session_closes))
                rows = collect_routes(plan, settings, mind, num, lambda _: bar.advance(task))
            meta |= {
                "rows": len(rows),
                "cases": len(rows) // 7,
                "sessions": len({row.ts for row in rows}),
                "learned_until": max((row.ts_closed for row in rows), default=0),
                "tokens": sum(max(row.tokens for row in case) for case in batched(rows, 7)),
            }
            write_routes(out, rows, meta)
    return {"routes": str(out), "collected_now": not kept, **meta}


def train(
    settings: Settings,
    routes: Path,
    out: Path,
    *,
    epochs: int,
    batch: int,
    lr: float,
    console: Console,
) -> dict[str, Any]:
    """Train on collected routes into a state folder, and return what the validation says."""
    check_folder(out)
    if out.exists() and any(out.iterdir()) and not (out / REPORT).is_file():
        raise ConfigError(f"expected a new folder or an earlier state, was {out}: not replaced")
    if not routes.is_file():
        raise ConfigError(f"expected collected routes at {routes}, was no file")
    from learning.supervisor.table import read_routes
    from learning.supervisor.train import train_supervisor
    from ops.composition.model_minds import build_mind

    table = read_routes(routes)
    with progress_bar(console) as bar:
        task = bar.add_task("epochs", total=epochs)
        trained = train_supervisor(
            table,
            settings.supervisor,
            settings.seed,
            epochs=epochs,
            batch=batch,
            lr=lr,
            progress=lambda epoch, _: bar.update(task, completed=epoch),
        )
    mind = build_mind(settings)
    mind.supervisor = trained.learner
    mind.learned_until = trained.learned_until
    for place, name in enumerate(JUNIORS):
        calls = trained.hits[:, place]
        mind.recall(name, (calls[np.isfinite(calls)] == 1.0).tolist())
    report = {
        "routes": table.meta,
        "state_digest": mind.digest,
        "learned_until": stamp_text(trained.learned_until),
        "epochs": epochs,
        "batch": batch,
        "lr": lr,
        "seed": settings.seed,
        **trained.report,
    }
    with whole_folder(out) as folder:
        mind.save(folder)
        _plot(trained.paid, folder / PLOT)
        write_json(folder / REPORT, report)
    return report


def _plot(paid: dict[str, Any], path: Path) -> None:
    from backtest.report.curves import Curve, Panel, write_curves

    curves = tuple(
        Curve(name, colour, np.arange(1, len(row) + 1), np.cumsum(row - paid["random"])[None])
        for (name, row), colour in zip(paid.items(), PALETTE, strict=False)
    )
    title = "Validation: cumulative reward per case over random routing"
    write_curves(path, (Panel(title, "sessions", "reward units", curves),))
