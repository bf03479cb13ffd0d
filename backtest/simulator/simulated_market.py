"""
The simulated market: its hidden state, and the prices, news and filings that follow from it.

`simulate` plants regimes, sector tilts, momentum, news that moves later drift and values to
which prices revert, and returns all of it; `to_market_data` hands over only what a trader can
see. docs/simulator.md gives the equations. Each purpose draws from a generator of its own, row
by row, so a longer market begins with the shorter one. It knows no trader, no cost rule of the
desk and no engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from agents.arrays import FloatArray, IntArray
from agents.messages import FundamentalsReport, Instrument, MacroValue, NewsItem
from backtest.market.market_data import ACTION_COLUMNS, SIMULATED, MarketData, canonical
from backtest.simulator import published
from backtest.simulator.structure import Structure, build_structure, relative, stream
from config.simulator import SimulatorSettings

VENUE = "SIM"


@dataclass(frozen=True)
class NewsTruth:
    """
    What each news item really was; arrays (M,), in the order of `SimulatedMarket.news`.

    `session` is the session at whose close the item is known; `wire` is False for chatter,
    whose `impulse` is 0. `impulse` is what the item adds to its instrument's `news_drift` then;
    `reading` is the sentiment as its text carries it, in standard deviations of readings.
    """

    session: IntArray
    instrument: IntArray
    wire: IntArray
    sentiment: FloatArray
    reading: FloatArray
    impulse: FloatArray


@dataclass(frozen=True)
class Reports:
    """
    The quarters' filings.

    Shapes: session (Q,), a quarter's last; filed (Q,), at whose close the filing is known;
    log_value (Q, N), as reported, with noise.
    """

    session: IntArray
    filed: IntArray
    log_value: FloatArray


@dataclass(frozen=True)
class SimulatedMarket:
    """
    A market with its hidden state, T sessions by N instruments.

    Hidden, as of each session's close: regime (T,) indexes `config.simulator.REGIMES`;
    news_drift, value_gap, log_value, momentum (T, N). expected_return (T, N) is the mean of the
    next session's log return given all of that, and equals base_drift + component_news +
    component_technical + component_fundamental; volatility (T, N) is its standard deviation.
    Observable: ts_open, ts_close (T,), UTC nanoseconds; open, high, low, close, volume (T, N);
    macro_values (T, J); news, fundamentals, macro. `regime` is in no observable.
    """

    settings: SimulatorSettings
    seed: int
    structure: Structure
    regime: IntArray
    news_drift: FloatArray
    value_gap: FloatArray
    log_value: FloatArray
    momentum: FloatArray
    expected_return: FloatArray
    volatility: FloatArray
    component_news: FloatArray
    component_technical: FloatArray
    component_fundamental: FloatArray
    base_drift: float
    log_price: FloatArray
    news_truth: NewsTruth
    reports: Reports
    ts_open: IntArray
    ts_close: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    macro_values: FloatArray
    news: tuple[NewsItem, ...]
    fundamentals: tuple[FundamentalsReport, ...]
    macro: tuple[MacroValue, ...]

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """The instruments, in the order of the arrays' last axis."""
        st = self.structure
        return tuple(
            Instrument(
                symbol=symbol,
                venue=VENUE,
                group=st.sector_names[sector],
                cost_bps=self.settings.cost_bps,
            )
            for symbol, sector in zip(st.symbols, st.sector.tolist(), strict=True)
        )

    def to_market_data(self) -> MarketData:
        """Return what a trader can see, in the form that every source hands over."""
        t, n = self.close.shape
        bars = pd.DataFrame(
            {
                "symbol": np.tile(np.array(self.structure.symbols, dtype=object), t),
                "ts_open": np.repeat(self.ts_open, n),
                "ts_close": np.repeat(self.ts_close, n),
                "open": self.open.ravel(),
                "high": self.high.ravel(),
                "low": self.low.ravel(),
                "close": self.close.ravel(),
                "volume": self.volume.ravel(),
            }
        )
        return canonical(
            MarketData(
                name=f"simulator-{self.seed}",
                instruments=self.instruments,
                bars=bars,
                actions=pd.DataFrame({c: [] for c in ACTION_COLUMNS}),
                session_closes=tuple(self.ts_close.tolist()),
                step_ns=0,
                price_basis="unadjusted",
                news=self.news,
                fundamentals=self.fundamentals,
                macro=self.macro,
                notes=(f"{SIMULATED}, seed {self.seed}: prices and news are invented",),
            )
        )


def load_simulated(settings: SimulatorSettings | None = None, seed: int = 0) -> MarketData:
    """Return a simulated market as a trader sees it; the default settings where none are given."""
    return simulate(settings or SimulatorSettings(), seed).to_market_data()


def simulate(settings: SimulatorSettings, seed: int) -> SimulatedMarket:
    """
    Simulate `warm_up + sessions` sessions.

    The same (settings, seed) gives the same bytes; more sessions leave the earlier ones as they
    were. Raises ConfigError where `start` is no date of the calendar.
    """
    s, st = settings, build_structure(settings, seed)
    t, n = s.warm_up + s.sessions, s.instruments
    clock = published.sessions(s.start, t)
    regime = _regimes(st, t, stream(seed, 1))
    truth = _news_truth(s, t, n, seed)
    impulse = np.zeros((t, n))
    np.add.at(impulse, (truth.session, truth.instrument), truth.impulse)

    tails = np.sqrt((st.tail_freedom - 2.0) / stream(seed, 2).chisquare(st.tail_freedom, t))
    shock = stream(seed, 3).standard_normal((t, st.loading.shape[1])) @ st.loading.T
    shock *= (tails * st.volatility[np.r_[regime[:1], regime[:-1]]])[:, None]
    wander = s.value_volatility * stream(seed, 4).standard_normal((t, n))
    first_gap = s.value_spread * stream(seed, 5).standard_normal(n)

    log_price, value, drift, momentum = (np.zeros((t, n)) for _ in range(4))
    expected = np.zeros((t, n))
    log_price[0] = np.log(st.first_price)
    value[0] = relative(log_price[0]) + first_gap
    drift[0] = impulse[0]
    for k in range(t):
        if k:
            step = expected[k - 1] + shock[k]
            log_price[k] = log_price[k - 1] + step
            keep = st.momentum_decay
            momentum[k] = keep * momentum[k - 1] + (1.0 - keep) * relative(step)
            drift[k] = st.news_decay * drift[k - 1] + impulse[k]
            value[k] = value[k - 1] + wander[k]
        technical = st.technical(momentum[k])[regime[k]]
        pull = s.value_pull * relative(value[k] - log_price[k])
        expected[k] = technical + relative(drift[k]) + pull

    gap = relative(value - log_price)
    log_value = value + log_price.mean(axis=1, keepdims=True)
    returns = np.concatenate([shock[:1], np.diff(log_price, axis=0)])
    scale = (tails * st.volatility[np.r_[regime[:1], regime[:-1]]])[:, None] * st.deviation
    bars = published.bars(s, st, log_price, returns, scale, np.r_[regime[:1], regime[:-1]], seed)
    report_session, filed, estimate = published.reports(s, clock, log_value, seed)
    macro_values = published.macro_values(st, regime, stream(seed, 6))
    component_news, component_fundamental = relative(drift), s.value_pull * gap
    return SimulatedMarket(
        settings=s,
        seed=seed,
        structure=st,
        regime=regime,
        news_drift=drift,
        value_gap=gap,
        log_value=log_value,
        momentum=momentum,
        expected_return=expected,
        volatility=st.volatility[regime][:, None] * st.deviation,
        component_news=component_news,
        component_technical=expected - component_news - component_fundamental - st.base_drift,
        component_fundamental=component_fundamental,
        base_drift=st.base_drift,
        log_price=log_price,
        news_truth=truth,
        reports=Reports(report_session, filed, estimate),
        ts_open=clock.ts_open,
        ts_close=clock.ts_close,
        **bars,
        macro_values=macro_values,
        news=published.news_items(
            st, clock, truth.session, truth.instrument, truth.wire, truth.reading, seed
        ),
        fundamentals=published.fundamentals(s, st, clock, report_session, filed, estimate, seed),
        macro=published.macro(clock, macro_values),
    )


def _regimes(st: Structure, t: int, rng: np.random.Generator) -> IntArray:
    """Return a path of the Markov chain, started from its stationary law: (T,)."""
    draws = rng.random(t)
    cumulative = np.cumsum(st.transition, axis=1)
    path = np.empty(t, dtype=np.int64)
    path[0] = min(int(np.searchsorted(np.cumsum(st.stationary), draws[0], side="right")), 2)
    for k in range(1, t):
        row = cumulative[path[k - 1]]
        path[k] = min(int(np.searchsorted(row, draws[k], side="right")), 2)
    return path


def _news_truth(s: SimulatorSettings, t: int, n: int, seed: int) -> NewsTruth:
    """Draw which items appear and what they mean, ordered by session, instrument, wire first."""
    wire = stream(seed, 7).poisson(s.wire_per_session, (t, n))
    chatter = stream(seed, 8).poisson(s.chatter_per_session, (t, n))
    counts = np.stack([wire, chatter], axis=-1)
    session, instrument, kind = np.nonzero(counts)
    repeat = counts[session, instrument, kind]
    session, instrument, kind = (np.repeat(a, repeat) for a in (session, instrument, kind))
    m = len(session)
    sentiment = stream(seed, 9).standard_normal(m)
    noise = stream(seed, 10).standard_normal(m)
    reading = (sentiment + s.reading_noise * noise) / np.sqrt(1.0 + s.reading_noise**2)
    is_wire = (kind == 0).astype(np.int64)
    return NewsTruth(
        session=session.astype(np.int64),
        instrument=instrument.astype(np.int64),
        wire=is_wire,
        sentiment=sentiment,
        reading=reading,
        impulse=s.news_strength * sentiment * is_wire,
    )
