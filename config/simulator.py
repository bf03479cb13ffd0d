"""
What a human sets about the simulated market; `docs/simulator.md` defines every symbol.

Rates are per year where the name says so and per session otherwise. Triples follow the order
of `REGIMES`: bull, bear, sideways. The defaults are tuned so that the filter oracle earns a
clear but not absurd Sharpe ratio net of the default cost.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from config.errors import ConfigError
from config.settings import Count, Frac, NonNegative, Positive

REGIMES = ("bull", "bear", "sideways")

Open01 = Annotated[float, Meta(gt=0.0, lt=1.0)]


class SimulatorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The size of the simulated market and the strength of what is planted in it.

    Raises ConfigError where fields contradict each other.
    """

    instruments: Annotated[int, Meta(ge=2, le=999)] = 12
    sectors: Annotated[int, Meta(ge=1, le=11)] = 4
    start: str = "2016-01-04"
    sessions: Count = 756  # traded sessions, after the warm-up
    warm_up: Annotated[int, Meta(ge=0)] = 252

    # the regime: how long each lasts on average, what it does
    regime_sessions: tuple[Positive, Positive, Positive] = (120.0, 50.0, 60.0)
    drift_per_year: tuple[float, float, float] = (0.20, -0.30, 0.03)
    volatility_per_year: tuple[Positive, Positive, Positive] = (0.11, 0.24, 0.14)  # of the index
    tilt_per_year: NonNegative = 0.08  # size of a sector's excess drift
    momentum_strength: tuple[float, float, float] = (0.30, 0.10, -0.15)
    momentum_half_life: Positive = 20.0

    # where an instrument's variance comes from, beside the market's
    sector_share: Open01 = 0.15
    own_share: Open01 = 0.45
    tail_freedom: Annotated[float, Meta(gt=2.0)] = 6.0  # Student t's degrees of freedom

    # news: drift per unit of sentiment, and how it is read
    wire_per_session: NonNegative = 0.10
    chatter_per_session: NonNegative = 0.10
    news_strength: NonNegative = 0.0020
    news_half_life: Positive = 4.0
    reading_noise: Positive = 0.7  # standard deviation, against a sentiment's 1

    # fundamental value
    value_pull: Open01 = 0.02
    value_volatility: Positive = 0.004  # per session
    value_spread: Positive = 0.08  # standard deviation of the first gap
    report_noise: Positive = 0.03
    filing_days: Annotated[int, Meta(ge=1, le=80)] = 45  # less than a quarter

    # what is published
    overnight_share: Open01 = 0.25
    gap_probability: Frac = 0.01
    gap_share: Open01 = 0.90
    cost_bps: NonNegative | None = None  # the instruments' own cost; None: the desk's default

    def __post_init__(self) -> None:
        if self.sectors > self.instruments:
            raise ConfigError(
                f"sectors: expected at most {self.instruments} (the instruments), "
                f"was {self.sectors}"
            )
        if min(self.regime_sessions) <= 1.0:
            raise ConfigError(
                f"regime_sessions: expected more than 1 session, was {min(self.regime_sessions)}"
            )
        if self.sector_share + self.own_share >= 1.0:
            raise ConfigError(
                "own_share: expected sector_share + own_share below 1, "
                f"was {self.sector_share + self.own_share}"
            )
