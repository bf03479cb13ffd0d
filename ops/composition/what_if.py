"""
Decides a recorded case otherwise, and sets that beside what was decided.

Other routes, a silent junior or other minds, on the same case, panel and feedback. Questions that
were never asked are asked now, and kept; the answer is never said to be what would have happened,
only what this mind decides.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from agents.arrays import BoolArray, FloatArray
from agents.messages import JUNIORS, ROUTES, Decision, JuniorName, Route
from agents.protocols import Supervisor
from config.errors import ConfigError
from config.settings import MindKind, Settings
from learning.experience.library import Library
from ops.composition.time_machine import Original, open_mind, panel_of, taught


@dataclass(frozen=True)
class Change:
    """What is to be otherwise: the juniors asked, those left out, and who decides."""

    route: tuple[JuniorName, ...] | None = None
    without: frozenset[JuniorName] = frozenset()
    minds: MindKind | None = None

    @property
    def text(self) -> str:
        """What is otherwise, in the words of the command line: "without news, minds vllm"."""
        parts = [
            "" if self.route is None else f"route {'+'.join(self.route)}",
            *(f"without {junior}" for junior in JUNIORS if junior in self.without),
            "" if self.minds is None else f"minds {self.minds}",
        ]
        return ", ".join(filter(None, parts))


@dataclass(frozen=True)
class Side:
    """One instrument in one decision; conviction None without a proposal."""

    juniors: tuple[str, ...]
    scores: dict[str, float]
    action: str
    conviction: float | None
    weight: float


def read_change(route: str | None, without: Sequence[str], minds: str | None) -> Change | None:
    """
    Return the change that words ask for, as `news+technical`; None for no words.

    Raises ConfigError on an unknown junior or mind.
    """
    if route is None and not without and minds is None:
        return None
    kinds: tuple[MindKind, ...] = get_args(MindKind.__value__)
    chosen = [kind for kind in kinds if kind == minds]
    if minds is not None and not chosen:
        raise ConfigError(f"expected minds ({', '.join(kinds)}), was {minds!r}")
    return Change(
        route=None if route is None else _juniors(route.split("+")),
        without=frozenset(_juniors(without)),
        minds=chosen[0] if chosen else None,
    )


def _juniors(names: Sequence[str]) -> tuple[JuniorName, ...]:
    unknown = [name for name in names if name not in JUNIORS]
    if unknown:
        raise ConfigError(f"expected juniors ({', '.join(JUNIORS)}), was {unknown[0]!r}")
    return tuple(junior for junior in JUNIORS if junior in names)


class Rerouted:
    """A supervisor whose routes are changed after it has chosen them; it learns as it is."""

    def __init__(self, supervisor: Supervisor, change: Change) -> None:
        self._supervisor = supervisor
        self._change = change

    def select(
        self, contexts: FloatArray, symbols: Sequence[str], evidence: BoolArray
    ) -> list[Route]:
        """Return the changed routes; an instrument that nobody is left for has none."""
        knows = {
            symbol: [junior for junior, known in zip(JUNIORS, row, strict=True) if known]
            for symbol, row in zip(symbols, evidence, strict=True)
        }
        routes = []
        for route in self._supervisor.select(contexts, symbols, evidence):
            asked = tuple(
                junior
                for junior in (self._change.route or route.juniors)
                if junior in knows[route.symbol] and junior not in self._change.without
            )
            if asked:
                arm = ROUTES.index(asked)
                routes.append(route if arm == route.arm else _forced(route, arm))
        return routes

    def update(self, context: FloatArray, action: int, reward: float) -> None:
        """Learn from one closed outcome."""
        self._supervisor.update(context, action, reward)


def _forced(route: Route, arm: int) -> Route:
    return msgspec.structs.replace(route, arm=arm, propensity=1.0)


def decide_otherwise(
    library: Library,
    original: Original,
    change: Change,
    state: Path | None,
    completions: Path | None,
) -> Decision:
    """Return the decision on a recorded case under a change, after the recorded feedback."""
    with open_mind(original, _settings(original.settings, change), state, completions) as mind:
        road = taught(library, original, mind)
        mind.router = Rerouted(mind.supervisor, change)
        return road.decide(original.case, panel_of(library, original))


def _settings(settings: Settings, change: Change) -> Settings:
    minds = msgspec.structs.replace(settings.minds, completions="replay-or-live")
    if change.minds is not None:
        minds = msgspec.structs.replace(minds, kind=change.minds, roles={})
    return msgspec.structs.replace(settings, minds=minds)


def sides(decision: Decision) -> dict[str, Side]:
    """Return what a decision says of each instrument, by symbol."""
    scores: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for opinion in decision.opinions:
        scores[opinion.symbol][opinion.junior] = opinion.score
    routes = {route.symbol: route.juniors for route in decision.routes}
    proposals = {proposal.symbol: proposal for proposal in decision.proposals}
    weights = decision.allocation.weights
    found = {}
    for symbol in sorted({*routes, *weights}):
        proposal = proposals.get(symbol)
        found[symbol] = Side(
            juniors=routes.get(symbol, ()),
            scores=scores[symbol],
            action="none" if proposal is None else proposal.action,
            conviction=None if proposal is None else proposal.conviction,
            weight=weights.get(symbol, 0.0),
        )
    return found
