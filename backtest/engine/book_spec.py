"""
Says which book is run, the same to an engine, a stepped book and a trading node.

Who decides (a mind), what drives the desk and where records go is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from backtest.engine.feed import Feed, make_feed
from backtest.market.market_data import MarketData
from backtest.market.rules import expiry
from config.settings import LimitSettings, Settings


@dataclass(frozen=True)
class BookSpec:
    """
    One book: a market under settings, decided from the closing stamp `decide_from` on.

    `gate` are the limits that it is held to where they are not those of the settings.
    """

    name: str
    market: MarketData
    settings: Settings
    decide_from: int
    gate: LimitSettings | None = None

    @property
    def limits(self) -> LimitSettings:
        """The limits that the book is held to."""
        return self.settings.limits if self.gate is None else self.gate

    @cached_property
    def feed(self) -> Feed:
        """What the engine is fed, made once. Raises DataError where it cannot be traded."""
        return make_feed(self.market, self.settings.market, self.decide_from)

    @property
    def latency_ns(self) -> int:
        """How long after its case a decision is delivered."""
        return self.settings.desk.latency_ns

    @cached_property
    def expires(self) -> Callable[[int], int]:
        """Tells until when the decision on a case of a stamp may be acted on."""
        return expiry(self.market.session_closes, self.settings)

    @property
    def start(self) -> int:
        """The first stamp of the run: the first session's close is still to come then."""
        return int(self.market.bars["ts_open"].min()) - 1

    @property
    def end(self) -> int:
        """The last stamp of the run: the last decision arrives too."""
        return self.market.session_closes[-1] + self.latency_ns
