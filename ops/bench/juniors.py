"""
Measures juniors where the answer is known: their rank ICs on simulated markets.

A mind that asks every junior about everything and buys nothing runs in the engine, and its
juniors' records are what came of their opinions at the desk's horizon. The rule-backed juniors'
cards (`simulated_ic`) are these figures; on real data no junior is expected to be as good.
"""

from collections.abc import Mapping, Sequence

import msgspec

from agents.arrays import Panel
from agents.baselines import plain_decision
from agents.features.routing_context import routing_context
from agents.juniors.evidence_lines import has_evidence
from agents.juniors.track import Track
from agents.messages import Case, Decision, JuniorName, Opinion, TrackRecord
from agents.protocols import Feedback, Junior, Mind
from agents.supervisor.plain_routers import AlwaysAll
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData, window
from config.settings import Settings


class _Asked(Mind):
    """A mind that asks all juniors, keeps their records to itself and holds nothing."""

    name = "juniors"

    def __init__(self, juniors: Mapping[JuniorName, Junior]) -> None:
        self.kept = Track()
        self._juniors = juniors

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        symbols = [state.symbol for state in case.instruments]
        answers = [a for junior in self._juniors.values() for a in junior.opine(case, symbols)]
        held = plain_decision(
            case,
            dict.fromkeys(symbols, 0.0),
            self.name,
            latency_ns=latency_ns,
            expires=expires,
        )
        return msgspec.structs.replace(
            held,
            routes=tuple(AlwaysAll().select(routing_context(case), symbols, has_evidence(case))),
            opinions=tuple(a for a in answers if isinstance(a, Opinion)),
        )

    def observe(self, feedback: Sequence[Feedback]) -> None:
        self.kept.observe(feedback)


def junior_records(
    market: MarketData, settings: Settings, juniors: Mapping[JuniorName, Junior], warm_up: int
) -> tuple[TrackRecord, ...]:
    """Return what the juniors' opinions come to on a market, after `warm_up` sessions."""
    kept, decide_from = window(market, None, warm_up)
    mind = _Asked(juniors)
    run_book(BookSpec(mind.name, kept, settings, decide_from), mind)
    return mind.kept.records()
