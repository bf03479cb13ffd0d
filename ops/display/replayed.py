"""Prints a recorded decision that was made again, or made otherwise."""

import hashlib
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from agents.messages import Decision
from ops.composition.time_machine import Original, Replay
from ops.composition.what_if import Change, Side, sides
from ops.printing import print_json

SHOWN = 8  # fields that differ, of which the rest is counted
WIDTH = 36  # characters of a value


def print_replay(replay: Replay, as_json: bool) -> None:
    """Print whether a decision made again is the recorded one, and what differs."""
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
        print_json(facts)
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


def print_otherwise(original: Original, change: Change, other: Decision, as_json: bool) -> None:
    """Print a recorded decision beside what was decided under a change."""
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
        print_json(facts)
        return
    console = Console()
    _headline(console, original)
    minds = "" if change.minds is None else f" ({original.decision.minds} | {other.minds})"
    console.print(f"what if: {change.text}{minds}", markup=False)
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
