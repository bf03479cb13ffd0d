"""
Case -> Decision: the whole path, in one readable function.

The hierarchy works in rounds over the whole universe: the supervisor routes every instrument at
once, each junior is asked once about all that it was routed, the strategist is asked once about
all opinions, and the allocator places capital. A junior without evidence in the case is not
asked; an instrument of which no junior has any has no route, and all juniors abstain. What it
learns from closed outcomes - routes' rewards and juniors' track records - is all of its state.
It knows no venue, clock or store.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from agents.allocator.tiers import TieredAllocator
from agents.arrays import BoolArray, Panel
from agents.features.routing_context import routing_context
from agents.juniors.evidence_lines import has_evidence
from agents.juniors.round import JuniorRound
from agents.juniors.track import Track
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
from agents.protocols import Feedback, Mind, Strategist, Supervisor, TrainedPolicy
from agents.supervisor.neural_ucb import NeuralUCB
from config.files.paths import SUPERVISOR_FILE, TRACK_FILE, check_state
from config.files.whole import write_whole

NO_EVIDENCE = "no evidence in the case"


class Hierarchy(Mind):
    """
    The supervisor, the juniors, the strategist and the allocator as one mind.

    `name` tells the minds apart in decisions and reports; `language_models` are the roles that
    one speaks for, and whether it was trained for each.
    """

    def __init__(
        self,
        supervisor: NeuralUCB,
        juniors: JuniorRound,
        strategist: Strategist,
        allocator: TieredAllocator,
        *,
        name: str = "rules",
        language_models: Mapping[str, bool] | None = None,
    ) -> None:
        self.name = name
        self.language_models = dict(language_models or {})
        self.supervisor = supervisor
        self.router: Supervisor = supervisor  # who routes; a what-if puts another in its place
        self.juniors = juniors
        self.strategist = strategist
        self.allocator = allocator
        self.learned_until = 0  # the stamp of the newest outcome that was learned from
        self._track = Track()

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        """
        Return the decision on a case: acted on from `latency_ns` after its stamp to `expires`.

        Where answers carry the latency that was recorded with them, the slowest of each round
        takes `latency_ns`'s place.
        """
        symbols = [state.symbol for state in case.instruments]
        evidence = has_evidence(case)
        routes = self.router.select(routing_context(case), symbols, evidence)
        return self.decide_on(
            case, panel, routes, evidence, latency_ns=latency_ns, expires=expires
        )

    def decide_on(
        self,
        case: Case,
        panel: Panel,
        routes: Sequence[Route],
        evidence: BoolArray,
        *,
        latency_ns: int,
        expires: int,
    ) -> Decision:
        """
        Return the decision on a case by routes that were chosen elsewhere, as by `decide`.

        Shapes: `evidence` (N, 3), who has any, in JUNIORS' order.
        """
        asked = {
            name: [route.symbol for route in routes if name in route.juniors] for name in JUNIORS
        }
        answers = self.juniors.opine(case, asked)
        opinions = tuple(a for a in answers if isinstance(a, Opinion))
        abstentions = (
            *(a for a in answers if isinstance(a, Abstention)),
            *self._unasked(case, evidence),
        )

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

    def _unasked(self, case: Case, evidence: BoolArray) -> list[Abstention]:
        """Return every junior's abstention from the instruments that none has evidence of."""
        models = self.juniors.models
        return [
            Abstention(junior=name, symbol=state.symbol, reason=NO_EVIDENCE, model=models[name])
            for state, anyone in zip(case.instruments, evidence.any(axis=1), strict=True)
            if not anyone
            for name in JUNIORS
        ]

    def track(self) -> tuple[TrackRecord, ...]:
        """Return what each junior's closed opinions came to."""
        return self._track.records()

    def recall(self, junior: JuniorName, hits: Sequence[bool]) -> None:
        """Count a junior's closed calls from before this mind: whether each hit, oldest first."""
        self._track.recall(junior, hits)

    def observe(self, feedback: Sequence[Feedback]) -> None:
        """Count the opinions behind closed outcomes into the juniors' records."""
        self._track.observe(feedback)

    def learn(self, feedback: Sequence[Feedback]) -> None:
        """
        Update the supervisor with the rewards of closed outcomes, a session's at once.

        Session by session or all at once, it learns the same to the bit.
        """
        for ts, closed in groupby(feedback, key=lambda item: item.outcome.ts_event):
            items = list(closed)
            self.supervisor.update_batch(
                np.array([item.route.context for item in items]),
                [item.route.arm for item in items],
                [item.reward for item in items],
            )
            self.learned_until = max(self.learned_until, ts)

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
    def own_juniors(self) -> dict[JuniorName, str]:
        """The models of the juniors from elsewhere, where no language model speaks for them."""
        return self.juniors.own

    @property
    def policies(self) -> tuple[TrainedPolicy, ...]:
        """The cards of the allocator's trained policies."""
        return self.allocator.policies

    @property
    def digest(self) -> str:
        """The SHA-256 of everything that was learned."""
        track = self._track.encode(self.learned_until)
        return hashlib.sha256(self.supervisor.digest.encode() + track).hexdigest()

    def save(self, folder: Path) -> None:
        """Write all learned state into a folder: a named snapshot."""
        folder.mkdir(parents=True, exist_ok=True)
        self.supervisor.save(folder / SUPERVISOR_FILE)
        write_whole(folder / TRACK_FILE, self._track.encode(self.learned_until))

    def load(self, folder: Path) -> None:
        """Go on from a snapshot. Raises ConfigError where the folder holds none."""
        check_state(folder)
        self.supervisor = self.router = NeuralUCB.load(folder / SUPERVISOR_FILE)
        file = folder / TRACK_FILE
        self._track, self.learned_until = Track.decode(file.read_bytes(), str(file))


def _slowest(answers: Iterable[Opinion | Abstention | Proposal]) -> int:
    return max((answer.latency_ns for answer in answers), default=0)
