"""
Case -> Decision: the whole path, in one readable function.

The hierarchy works in rounds over the whole universe: the supervisor routes every instrument at
once, each junior is asked once about all that it was routed, the strategist is asked once about
all opinions, and the allocator places capital. What it learns from closed outcomes - routes'
rewards and juniors' track records - is all of its state. It knows no venue, no clock, no store.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from agents.allocator.policy_file import PolicyCard
from agents.features import routing_context
from agents.messages import (
    JUNIORS,
    Abstention,
    Case,
    Decision,
    JuniorName,
    Opinion,
    Proposal,
    Route,
    TrackRecord,
)
from agents.protocols import Allocator, Juniors, Lesson, Panel, Strategist, Supervisor
from agents.supervisor.neural_ucb import NeuralUCB
from config.errors import ConfigError
from config.paths import SUPERVISOR_FILE, TRACK_FILE, check_state

TRACK_LENGTH = 1_000  # closed opinions that a junior's hit rate remembers


class _Track(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a snapshot keeps beside the supervisor."""

    learned_until: int
    hits: dict[JuniorName, list[bool]]


class Hierarchy:
    """
    The supervisor, the juniors, the strategist and the allocator as one mind.

    `name` tells the minds apart in decisions and reports.
    """

    needs_features = True

    def __init__(
        self,
        supervisor: NeuralUCB,
        juniors: Juniors,
        strategist: Strategist,
        allocator: Allocator,
        *,
        name: str = "rules",
    ) -> None:
        self.name = name
        self.supervisor = supervisor
        self.router: Supervisor = supervisor  # who routes; a what-if puts another in its place
        self.juniors = juniors
        self.strategist = strategist
        self.allocator = allocator
        self.learned_until = 0  # the stamp of the newest outcome that was learned from
        self.hits: dict[JuniorName, deque[bool]] = {
            junior: deque(maxlen=TRACK_LENGTH) for junior in JUNIORS
        }

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        """
        Return the decision on a case: acted on from `latency_ns` after its stamp to `expires`.

        Where answers carry the latency that was recorded with them, the slowest of each round
        takes `latency_ns`'s place.
        """
        symbols = [state.symbol for state in case.instruments]
        routes = self.router.select(routing_context(case), symbols)
        return self.decide_on(case, panel, routes, latency_ns=latency_ns, expires=expires)

    def decide_on(
        self,
        case: Case,
        panel: Panel,
        routes: Sequence[Route],
        *,
        latency_ns: int,
        expires: int,
    ) -> Decision:
        """Return the decision on a case by routes that were chosen elsewhere, as by `decide`."""
        asked = {
            name: [route.symbol for route in routes if name in route.juniors] for name in JUNIORS
        }
        answers = self.juniors.opine(case, asked)
        opinions = tuple(a for a in answers if isinstance(a, Opinion))
        abstentions = tuple(a for a in answers if isinstance(a, Abstention))

        proposals = tuple(self.strategist.propose(case, opinions))
        allocation = self.allocator.allocate(case, panel, proposals)
        delivered = case.ts_init + (_slowest(answers) + _slowest(proposals) or latency_ns)
        return Decision(
            decision_id=case.decision_id,
            ts_event=case.ts_init,
            ts_init=delivered,
            expires=expires,
            trigger=case.trigger,
            minds=self.name,
            routes=tuple(routes),
            opinions=opinions,
            abstentions=abstentions,
            proposals=proposals,
            allocation=allocation,
        )

    def track(self) -> tuple[TrackRecord, ...]:
        """Return each junior's hits and calls over its last closed opinions."""
        return tuple(
            TrackRecord(junior=name, hits=sum(hits), calls=len(hits))
            for name, hits in self.hits.items()
        )

    def observe(self, lessons: Sequence[Lesson]) -> None:
        """Count the opinions behind closed outcomes; a neutral opinion is no call."""
        for lesson in lessons:
            for opinion in lesson.opinions:
                move = lesson.outcome.instrument_return
                if opinion.score != 0 and move != 0:
                    self.hits[opinion.junior].append((opinion.score > 0) == (move > 0))

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Update the supervisor with the rewards of closed outcomes."""
        for lesson in lessons:
            self.learned_until = max(self.learned_until, lesson.outcome.ts_event)
            context = np.asarray(lesson.route.context)
            self.supervisor.update(context, lesson.route.arm, lesson.reward)

    @property
    def models(self) -> dict[str, str]:
        """The model of each role."""
        return {
            **self.juniors.models,
            "strategist": self.strategist.described,
            "supervisor": "neural-ucb-1",
            **self.allocator.models,
        }

    @property
    def policies(self) -> tuple[PolicyCard, ...]:
        """The cards of the allocator's trained policies."""
        return self.allocator.policies

    @property
    def digest(self) -> str:
        """The SHA-256 of everything that was learned."""
        return hashlib.sha256(self.supervisor.digest.encode() + self._track_json()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write all learned state into a folder: a named snapshot."""
        folder.mkdir(parents=True, exist_ok=True)
        self.supervisor.save(folder / SUPERVISOR_FILE)
        (folder / TRACK_FILE).write_bytes(self._track_json())

    def load(self, folder: Path) -> None:
        """Go on from a snapshot. Raises ConfigError where the folder holds none."""
        check_state(folder)
        self.supervisor = self.router = NeuralUCB.load(folder / SUPERVISOR_FILE)
        try:
            track = msgspec.json.decode((folder / TRACK_FILE).read_bytes(), type=_Track)
        except msgspec.DecodeError as e:
            raise ConfigError(f"expected track records in {folder / TRACK_FILE}, was {e}") from e
        if track.hits.keys() != self.hits.keys():
            raise ConfigError(
                f"expected {', '.join(self.hits)} in {folder / TRACK_FILE}, "
                f"was {', '.join(track.hits)}"
            )
        self.learned_until = track.learned_until
        for name, kept in self.hits.items():
            kept.clear()
            kept.extend(track.hits[name])

    def _track_json(self) -> bytes:
        hits = {name: list(kept) for name, kept in self.hits.items()}
        return msgspec.json.encode(_Track(self.learned_until, hits))


def _slowest(answers: Iterable[Opinion | Abstention | Proposal]) -> int:
    return max((answer.latency_ns for answer in answers), default=0)
