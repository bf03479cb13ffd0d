"""
Makes a recorded decision again, and compares it to the byte.

Case, panel, feedback, settings and the models' answers come out of the library and the file of
completions; the mind is built as for a run, learns what it had learned by then, and decides. Where
the bytes differ, every input, version and hash that could be why is shown beside what it was. It
asks no model; `ops.composition.what_if` does, for decisions that were never made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agents.arrays import Panel
from agents.messages import Case, Decision, Instrument
from config.errors import ConfigError, ReplayMiss
from config.files.paths import data_home
from config.settings import Settings
from learning.experience.library import Library, RunRow
from learning.experience.reading import find_decision, find_run
from learning.experience.replaying import read_feedback, read_panel

if TYPE_CHECKING:
    from agents.hierarchy import Hierarchy
    from strategies.ports import LocalMind


# what a manifest must hold for the decisions of its run to be made again
REPLAYED = ("code", "libraries", "instruments", "data", "start_state_digest", "minds")


@dataclass(frozen=True)
class Original:
    """A decision as the library holds it, with all that it was made from."""

    run: RunRow
    settings: Settings
    manifest: dict[str, Any]
    case: Case
    body: bytes
    decision: Decision


@dataclass(frozen=True)
class Check:
    """One thing that could make a decision differ: as it was recorded, and as it is now."""

    what: str
    recorded: str
    now: str

    @property
    def same(self) -> bool:
        """Whether it is what it was."""
        return self.recorded == self.now


@dataclass(frozen=True)
class Difference:
    """One field of a decision that is not what it was; a field that one has not is "none"."""

    path: str
    recorded: str
    now: str


@dataclass(frozen=True)
class Replay:
    """What came of making a decision again; `body` is None where it could not be made."""

    original: Original
    checks: tuple[Check, ...]
    body: bytes | None
    differences: tuple[Difference, ...]

    @property
    def identical(self) -> bool:
        """Whether the decision is the recorded one to the byte."""
        return self.body == self.original.body


def find_original(library: Library, decision_id: str, run: str | None) -> Original:
    """
    Return a decision by its id, or its beginning, with its run's settings and its case.

    Raises ConfigError where the library does not hold it, or not by this version's settings.
    """
    run_id = None if run is None else find_run(library, run).run_id
    key = find_decision(library, decision_id, run_id)
    row = find_run(library, key.run_id)
    case = library.case(key.decision_id, key.run_id)
    body = library.decision_json(key.decision_id, key.run_id)
    if case is None or body is None:
        raise ConfigError(f"expected the case of {key.decision_id} in the library, was none")
    try:
        settings = msgspec.json.decode(row.config, type=Settings)
        manifest = msgspec.json.decode(row.manifest, type=dict[str, Any])
        decision = msgspec.json.decode(body, type=Decision)
    except msgspec.DecodeError as e:
        raise ConfigError(f"expected a run that this version can read, was: {e}") from e
    if lacking := [name for name in REPLAYED if name not in manifest]:
        raise ConfigError(f"expected a run whose manifest has {', '.join(lacking)}, was another")
    return Original(row, settings, manifest, case, body, decision)


@contextmanager
def open_mind(
    original: Original, settings: Settings, state: Path | None, completions: Path | None
) -> Iterator[Hierarchy]:
    """
    Give the mind of a run on its start state, its language models open.

    Raises ConfigError where the file of completions that it would replay is none.
    """
    minds = settings.minds
    spoken = minds.kind != "rules" or any(kind != "rules" for kind in minds.roles.values())
    kept = completions or data_home() / "completions.sqlite"
    if spoken and minds.completions == "replay" and not kept.is_file():
        raise ConfigError(f"expected the run's completions at {kept}, was no file")
    from ops.composition.model_minds import build_mind, open_models

    manifest = original.manifest
    instruments = msgspec.convert(manifest["instruments"], list[Instrument])
    with open_models(settings, kept) as models:
        backend = None if models is None else models.backend
        yield build_mind(
            settings,
            state,
            backend=backend,
            instruments=instruments,
            source=manifest["data"]["name"],
        )


def replay_decision(
    library: Library, original: Original, state: Path | None, completions: Path | None
) -> Replay:
    """Make a decision again from what was recorded, asking nothing of any model."""
    panel = panel_of(library, original)
    checks = [*_versions(original), *_inputs(original, panel)]
    body = None
    try:
        with open_mind(original, _replaying(original.settings), state, completions) as mind:
            checks += _minds(original, mind)
            road = taught(library, original, mind)
            checks.append(Check("track records", _text(original.case.track), _text(road.track())))
            if len(panel.returns):
                body = msgspec.json.encode(road.decide(original.case, panel))
    except ReplayMiss as e:
        checks.append(Check("completions", "kept", str(e)))
    now = None if body is None else msgspec.json.decode(body)
    differences = () if now is None else compare(msgspec.json.decode(original.body), now)
    return Replay(original, tuple(checks), body, differences)


def panel_of(library: Library, original: Original) -> Panel:
    """Return the panel that a decision was given."""
    symbols = [state.symbol for state in original.case.instruments]
    sessions = original.settings.desk.panel_sessions
    return read_panel(library, original.run.run_id, original.case.ts_init, symbols, sessions)


def taught(library: Library, original: Original, mind: Hierarchy) -> LocalMind:
    """
    Let a mind learn all that the run's own had learned by the decision's case.

    Return the road to it, with the run's latency and the decision's expiry.
    """
    from strategies.ports import LocalMind

    road = LocalMind(
        mind,
        latency_ns=original.settings.desk.latency_ns,
        expires=lambda _: original.decision.expires,
    )
    road.learn(read_feedback(library, original.run.run_id, original.case.ts_init))
    return road


def compare(recorded: Any, now: Any, path: str = "") -> tuple[Difference, ...]:
    """Return the fields that differ between two JSON values, in the first one's order."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        names = [*recorded, *(name for name in now if name not in recorded)]
        pairs = [(f"{path}.{n}".lstrip("."), recorded.get(n), now.get(n)) for n in names]
    elif isinstance(recorded, list) and isinstance(now, list):
        pairs = [
            (f"{path}[{_name(old, new, i)}]", old, new)
            for i, (old, new) in enumerate(zip_longest(recorded, now))
        ]
    else:
        same = recorded == now and type(recorded) is type(now)
        return () if same else (Difference(path, _text(recorded), _text(now)),)
    return tuple(d for name, old, new in pairs for d in compare(old, new, name))


def _name(old: Any, new: Any, place: int) -> str:
    """Return an element's place, with its symbol where it has one."""
    symbols = {e["symbol"] for e in (old, new) if isinstance(e, dict) and "symbol" in e}
    return f"{place} {symbols.pop()}" if len(symbols) == 1 else str(place)


def _replaying(settings: Settings) -> Settings:
    minds = msgspec.structs.replace(settings.minds, completions="replay")
    return msgspec.structs.replace(settings, minds=minds)


def _versions(original: Original) -> Iterator[Check]:
    from backtest.identity import code_version, installed

    manifest = original.manifest
    yield Check("code", manifest["code"], code_version())
    for name, version in manifest["libraries"].items():
        yield Check(name, version, installed(name))


def _inputs(original: Original, panel: Panel) -> Iterator[Check]:
    case = original.case
    yield Check("case", original.decision.decision_id, case.decision_id)
    digest = hashlib.sha256(panel.returns.tobytes()).hexdigest()
    yield Check("panel", case.panel_digest, digest if len(panel.returns) else "none kept")


def _minds(original: Original, mind: Hierarchy) -> Iterator[Check]:
    manifest = original.manifest
    yield Check("start state", manifest["start_state_digest"], mind.digest)
    recorded, now = manifest["minds"], {"kind": mind.name, **mind.models}
    for name in [*recorded, *(name for name in now if name not in recorded)]:
        yield Check(f"minds: {name}", recorded.get(name, "none"), now.get(name, "none"))


def _text(value: Any) -> str:
    return "none" if value is None else msgspec.json.encode(value).decode()
