"""
The facts that an answer may rest on: the records of one decision, the figures of one run.

`Archive` is what the explainer asks of a library; `ops` plugs the real one in. Nothing here
computes anything that the record does not hold, and it knows no store.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from agents.explain.cited import Cite, Sentence, cite, line
from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES
from agents.messages import (
    Abstention,
    Case,
    Decision,
    FillRecord,
    InstrumentState,
    JuniorName,
    Message,
    Opinion,
    OrderRecord,
    Outcome,
    Proposal,
    Reward,
    Route,
    Verdict,
)
from config.settings import Settings

_INSTRUMENT = {name: i for i, name in enumerate(INSTRUMENT_FEATURES)}
_MACRO = {name: i for i, name in enumerate(MACRO_FEATURES)}


class Record(Message, frozen=True, kw_only=True):
    """One decision of one run with all that led to it and all that came of it."""

    run_id: str
    decision: Decision
    case: Case | None
    verdicts: tuple[Verdict, ...] = ()
    orders: tuple[OrderRecord, ...] = ()
    fills: tuple[FillRecord, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    rewards: tuple[Reward, ...] = ()

    @property
    def cite(self) -> Cite:
        """The cite of the decision."""
        return cite("decision", self.decision.decision_id)

    def line(self, topic: str, text: str) -> Sentence:
        """Return a sentence of our own words that rests on the decision."""
        return line(topic, text, (self.cite,))

    @property
    def day(self) -> str:
        """The session's day of the decision."""
        return day_of(self.decision.ts_event)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The instruments that were routed, sorted."""
        return tuple(sorted(route.symbol for route in self.decision.routes))

    def state(self, symbol: str) -> InstrumentState | None:
        """Return what was known of an instrument."""
        states = () if self.case is None else self.case.instruments
        return next((s for s in states if s.symbol == symbol), None)

    def feature(self, symbol: str, name: str) -> float | None:
        """Return an instrument's feature, None where it was masked or there is no case."""
        state = self.state(symbol)
        return None if state is None else state.features[_INSTRUMENT[name]]

    def macro(self, name: str) -> float | None:
        """Return a feature of the market, None where it was masked or there is no case."""
        return None if self.case is None else self.case.macro.features[_MACRO[name]]

    def route(self, symbol: str) -> Route | None:
        """Return an instrument's route."""
        return next((r for r in self.decision.routes if r.symbol == symbol), None)

    def opinions(self, symbol: str) -> tuple[Opinion, ...]:
        """Return the opinions on an instrument."""
        return tuple(o for o in self.decision.opinions if o.symbol == symbol)

    def abstentions(self, symbol: str) -> tuple[Abstention, ...]:
        """Return who had nothing to say of an instrument."""
        return tuple(a for a in self.decision.abstentions if a.symbol == symbol)

    def proposal(self, symbol: str) -> Proposal | None:
        """Return the strategist's answer on an instrument."""
        return next((p for p in self.decision.proposals if p.symbol == symbol), None)


class Tally(Message, frozen=True, kw_only=True):
    """
    What a run's records sum to; None where there is nothing to average.

    `sharpe` is per session, of `sessions_per_year`. `acted` counts closed proposals with a
    conviction, `hits` those with a positive realised return, `realised` is their mean; `reward` is
    the mean of decisions' own rewards. `routes` counts each arm, `arm_rewards` is its mean reward.
    """

    decisions: int
    orders: int
    fills: int
    commission: float
    sharpe: float | None
    sessions_per_year: int
    acted: int
    hits: int
    realised: float | None
    reward: float | None
    routes: Mapping[int, int]
    arm_rewards: Mapping[int, float]
    spoke: Mapping[JuniorName, int]
    silent: Mapping[JuniorName, int]


class RunFacts(Message, frozen=True, kw_only=True):
    """A run as its library holds it; equity and drawdown are of the first and the newest case."""

    run_id: str
    name: str
    status: str
    settings: Settings | None
    tally: Tally
    first_equity: float | None
    last_equity: float | None
    last_drawdown: float | None


class Stamp(Message, frozen=True, kw_only=True):
    """When a decision was made; `ts_event` in UTC nanoseconds."""

    decision_id: str
    ts_event: int

    @property
    def day(self) -> str:
        """The session's day."""
        return day_of(self.ts_event)


class Archive(Protocol):
    """One run, for reading."""

    def stamps(self) -> Sequence[Stamp]:
        """Return all decisions, oldest first."""

    def record(self, decision_id: str) -> Record:
        """Return one decision with all that belongs to it."""

    def run(self) -> RunFacts:
        """Return the run's facts."""


def day_of(ts: int) -> str:
    """Return the day of a session's close as YYYY-MM-DD; a close at midnight ends its day."""
    return datetime.fromtimestamp((ts - 1) // 1_000_000_000, UTC).date().isoformat()


def minute_of(ts: int) -> str:
    """Return a stamp as YYYY-MM-DD HH:MM UTC."""
    return f"{datetime.fromtimestamp(ts // 1_000_000_000, UTC):%Y-%m-%d %H:%M} UTC"
