"""
The seams between minds and bodies, as Protocols.

Imports point down; what a lower package needs of a higher one comes in through these. `ops` and
`live` put the real parts in. `Mind`, `Junior` and `Supervisor` have defaults: derive from them.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from agents.arrays import BoolArray, FloatArray, Panel
from agents.messages import (
    Abstention,
    Case,
    Decision,
    FillRecord,
    JuniorName,
    Opinion,
    OrderRecord,
    Outcome,
    Proposal,
    Reward,
    Route,
    SessionReturns,
    TrackRecord,
    TrainingRecord,
    Verdict,
)


class Junior(Protocol):
    """
    An analyst of one kind of evidence; one's own derives from it (docs/agents.md).

    `name` is the kind of evidence that it answers for: it is asked only where a case holds some.
    `model` signs its opinions. `simulated_ic` is its rank information coefficient on the default
    simulated market, None where it was not measured.
    """

    name: JuniorName
    model: str
    simulated_ic: float | None = None

    @abstractmethod
    def opine(self, case: Case, symbols: Sequence[str]) -> list[Opinion | Abstention]:
        """Return one answer for each symbol, in their order: one batch, one round."""

    def abstain(self, symbol: str, reason: str) -> Abstention:
        """Return its abstention from a symbol."""
        return Abstention(junior=self.name, symbol=symbol, reason=reason, model=self.model)


class Strategist(Protocol):
    """Turns opinions into proposals; `described` names its model, and its prompt if it has one."""

    described: str

    def propose(self, case: Case, opinions: Sequence[Opinion]) -> list[Proposal]:
        """Return a proposal for each instrument that has an opinion; one batch, one round."""


class Supervisor(Protocol):
    """Chooses a route for each instrument and learns from what came of it."""

    def select(
        self, contexts: FloatArray, symbols: Sequence[str], evidence: BoolArray
    ) -> list[Route]:
        """
        Return a route for each instrument of which some junior has evidence, in their order.

        A route asks no junior without evidence. Shapes: contexts (N, 16); evidence (N, 3), in
        JUNIORS' order.
        """

    def update(self, context: FloatArray, action: int, reward: float) -> None:
        """Shapes: context (16,). Learn from one closed outcome; nothing by default."""
        return


class TrainedPolicy(Protocol):
    """What is known of a trained policy: the place that it takes, and what it was trained on."""

    @property
    def slot(self) -> str:
        """The place that it takes: top, bottom or bottom-<group>."""

    @property
    def kind(self) -> Literal["top", "bottom"]:
        """Which tier it is."""

    @property
    def book(self) -> str:
        """The kind of book that it was trained on."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of the book that it was trained on, sorted."""

    @property
    def group(self) -> str:
        """The group that it places, "*" for any, "" for a top policy."""

    @property
    def trained(self) -> TrainingRecord:
        """What it was trained on."""

    @property
    def digest(self) -> str:
        """The SHA-256 of all that it is."""


@dataclass(frozen=True)
class Feedback:
    """One closed outcome beside what led to it: the route, the opinions and the reward."""

    route: Route
    opinions: tuple[Opinion, ...]
    outcome: Outcome
    reward: float


class Mind(Protocol):
    """
    Whatever can turn a case into a decision: the hierarchy, or a baseline.

    Its own class may derive from it: what it does not define then does nothing.
    """

    name: str
    needs_features: bool = True  # whether cases are to carry news, reports and macro values

    def track(self) -> tuple[TrackRecord, ...]:
        """Return the juniors' track records so far, for the next case."""
        return ()

    @abstractmethod
    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        """Return the decision on a case; never reads a clock."""

    def observe(self, feedback: Sequence[Feedback]) -> None:
        """Count closed outcomes into the track records: at once, before the next case."""
        return

    def learn(self, feedback: Sequence[Feedback]) -> None:
        """Learn from closed outcomes, in their order; may take long, never runs with `decide`."""
        return


class LearningMind(Mind, Protocol):
    """A mind with models and learned state, which a run names, hashes and keeps."""

    @property
    def models(self) -> dict[str, str]:
        """The model of each role."""

    @property
    def language_models(self) -> Mapping[str, bool]:
        """The roles that a language model speaks for, and whether it was trained for each."""

    @property
    def own_juniors(self) -> dict[JuniorName, str]:
        """The models of the juniors from elsewhere, where no language model speaks for them."""

    @property
    def policies(self) -> tuple[TrainedPolicy, ...]:
        """The cards of the allocator's trained policies."""

    @property
    def learned_until(self) -> int:
        """The stamp of the newest outcome that was learned from; 0 for a fresh prior."""

    @property
    def digest(self) -> str:
        """The SHA-256 of everything that was learned."""

    def save(self, folder: Path) -> None:
        """Write all learned state into a folder."""


type Record = (
    SessionReturns | Case | Decision | Verdict | OrderRecord | FillRecord | Outcome | Reward
)


class ExperienceWriter(Protocol):
    """Where a run's records go. Adding a record twice adds it once."""

    def add(self, record: Record) -> None:
        """Take one record; it is durable after the next `flush`."""

    def flush(self) -> None:
        """Commit everything added so far in one transaction."""
