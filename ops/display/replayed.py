"""
The replay command: one recorded decision, made again or made otherwise, and shown.

It ends with 0 where the decision is the recorded one to the byte and with 1 where it is not; a
what-if has no such answer and ends with 0.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agents.messages import Decision
from learning.experience.library import open_library
from ops.composition.time_machine import Original, Replay, find_original, replay_decision
from ops.composition.what_if import Change, Side, decide_otherwise, sides

SHOWN = 8  # fields that differ, of which the rest is counted
WIDTH = 36  # characters of a value


@dataclass(frozen=True)
class Asked:
    """What the command line asked for."""

    decision_id: str
    library: str
    run: str | None
    state: Path | None
    completions: Path | None
    change: Change | None
    as_json: bool


def run_replay(asked: Asked) -> int:
    """Make a decision again as asked, show it, and return the exit code."""
    with open_library(asked.library, create=False) as library:
        original = find_original(library, asked.decision_id, asked.run)
        if asked.change is not None:
            files = (asked.state, asked.completions)
            other = decide_otherwise(library, original, asked.change, *files)
            _show_otherwise(original, other, asked.as_json)
            return 0
        replay = replay_decision(library, original, asked.state, asked.completions)
    _show(replay, asked.as_json)
    return 0 if replay.identical else 1


def _show(replay: Replay, as_json: bool) -> None:
    original = replay.original
    hashes = [_sha256(body) for body in (original.body, replay.body)]
    if as_json:
        facts = _facts(original) | {
            "identical": replay.identical,
            "recorded_sha256": hashes[0],
            "replayed_sha256": hashes[1],
            "checks": [asdict(check) | {"same": check.same} for check in replay.checks],
            "differing_fields": len(replay.differences),
            "differences": [asdict(d) for d in replay.differences[:SHOWN]],
        }
        print(json.dumps(facts))
        return
    console = Console()
    table = _table("input", "recorded", "now", "")
    for check in replay.checks:
        mark = "same" if check.same else "DIFFERS"
        table.add_row(check.what, _cut(check.recorded), _cut(check.now), mark)
    _headline(console, original)
    console.print(table)
    if replay.identical:
        size = len(original.body)
        console.print(f"identical to the byte: {size} bytes, SHA-256 {hashes[0]}", soft_wrap=True)
        others = ", ".join(check.what for check in replay.checks if not check.same)
        if others:
            console.print(f"though not the same: {others}", markup=False, soft_wrap=True)
        return
    for check in replay.checks:
        if check.what == "completions":
            console.print(check.now, markup=False, soft_wrap=True)
    if replay.body is None:
        console.print("the decision could not be made again")
        return
    console.print(f"recorded {hashes[0]}\nreplayed {hashes[1]}")
    table = _table("field", "recorded", "replayed")
    for d in replay.differences[:SHOWN]:
        table.add_row(d.path, _cut(d.recorded), _cut(d.now))
    console.print(table)
    rest = len(replay.differences) - SHOWN
    if rest > 0:
        console.print(f"and {rest} more fields")


def _show_otherwise(original: Original, other: Decision, as_json: bool) -> None:
    was, now = sides(original.decision), sides(other)
    if as_json:
        facts = _facts(original) | {
            "minds": {"original": original.decision.minds, "what_if": other.minds},
            "instruments": {
                symbol: {
                    "original": asdict(was[symbol]) if symbol in was else None,
                    "what_if": asdict(now[symbol]) if symbol in now else None,
                }
                for symbol in sorted({*was, *now})
            },
        }
        print(json.dumps(facts))
        return
    console = Console()
    _headline(console, original)
    console.print(f"what if: {original.decision.minds} | {other.minds}", markup=False)
    table = _table("", "", "original", "what if", "change")
    for symbol in sorted({*was, *now}):
        for line in _lines(was.get(symbol), now.get(symbol)):
            table.add_row(symbol if line[0] == "route" else "", *line)
    console.print(table)


def _lines(was: Side | None, now: Side | None) -> list[tuple[str, ...]]:
    both = (was, now)
    routes = [("+".join(s.juniors) if s else "") or "none" for s in both]
    scores = [
        ", ".join(f"{j} {score:+.2f}" for j, score in s.scores.items()) if s else "" for s in both
    ]
    said = [
        f"{s.action} {s.conviction:+.3f}" if s and s.conviction is not None else "none"
        for s in both
    ]
    views = [s.conviction or 0.0 if s else 0.0 for s in both]
    weights = [s.weight if s else 0.0 for s in both]
    return [
        ("route", *routes, "" if routes[0] == routes[1] else "other"),
        (
            "opinions",
            *(text or "none" for text in scores),
            "" if scores[0] == scores[1] else "other",
        ),
        ("proposal", *said, f"{views[1] - views[0]:+.3f}"),
        ("weight", *(f"{w:.2%}" for w in weights), f"{weights[1] - weights[0]:+.2%}"),
    ]


def _facts(original: Original) -> dict[str, Any]:
    return {"decision_id": original.decision.decision_id, "run_id": original.run.run_id}


def _headline(console: Console, original: Original) -> None:
    run = original.run
    console.print(
        f"decision {original.decision.decision_id} of run {run.run_id} ({run.name})",
        markup=False,
        soft_wrap=True,
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _sha256(body: bytes | None) -> str:
    return "none" if body is None else hashlib.sha256(body).hexdigest()
