"""
The Bayes filter: what a trader who knows the simulator's equations can believe of its state.

Exact: the probabilities of the regimes, given every index return, volume level and macro value
so far (a hidden Markov forward step; neither news nor values move the index). Approximate: news
drifts and values come from one Kalman filter over headlines, filings and all returns, in which a
session's shocks are taken as normal with the regimes' mixture of covariances, where in truth they
are Student t with the covariance of one regime; and a headline is a linear, normal measurement of
sentiment. Not used: sector returns as evidence of the regime, openings, highs and lows. It reads
nothing hidden; of the constants (`Structure`, settings) it knows all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm
from scipy.stats import t as student

from agents.arrays import FloatArray
from backtest.simulator.simulated_market import SimulatedMarket
from backtest.simulator.structure import Structure, relative
from backtest.simulator.text import read, read_variance
from config.simulator import SimulatorSettings


@dataclass(frozen=True)
class Reading:
    """
    How a headline's score tells of its sentiment: mean `intercept + slope * score`, and variance.
    """

    score: Callable[[str], float]
    slope: float
    intercept: float
    variance: float


def ideal_reading(settings: SimulatorSettings) -> Reading:
    """Return the reading of one who knows the grammar of the headlines."""
    trust = 1.0 / (1.0 + settings.reading_noise**2)
    return Reading(read, trust**0.5, 0.0, 1.0 - trust * read_variance())


@dataclass(frozen=True)
class Seen:
    """
    What one session shows by its close.

    Shapes: log_close, log_volume, items (N,), the count of wire items; sentiment (N,), the sum
    of their means; macro (J,); filed (N,) or None, log values as reported for the last quarter's
    end. `quarter_end` marks the last session of a quarter.
    """

    log_close: FloatArray
    log_volume: FloatArray
    macro: FloatArray
    items: FloatArray
    sentiment: FloatArray
    quarter_end: bool
    filed: FloatArray | None


@dataclass(frozen=True)
class Belief:
    """
    What the filter believes at a close.

    Shapes: probability (K,) of the present regime, `driver` (K,) of the one that drove the
    session just over; news_drift, value_gap (N,) and state_covariance (2N, 2N) of drifts and
    values; momentum (N,), observed; expected_return (N,) and covariance (N, N) of the next
    session's log returns, uncertainty of the state included.
    """

    probability: FloatArray
    driver: FloatArray
    news_drift: FloatArray
    value_gap: FloatArray
    state_covariance: FloatArray
    momentum: FloatArray
    expected_return: FloatArray
    covariance: FloatArray


class BayesFilter:
    """
    A filter over one market; `step` takes the sessions in order, the first included.

    Its continuous state is (3N,): news drifts, values relative to the index, and those values as
    of the last quarter's end, which is what filings report.
    """

    def __init__(
        self, structure: Structure, settings: SimulatorSettings, reading: Reading | None = None
    ) -> None:
        self.structure, self.settings = structure, settings
        self.reading = reading or ideal_reading(settings)
        n = len(structure.symbols)
        self._n = n
        centre = np.eye(n) - 1.0 / n
        self._look = np.concatenate(
            [centre, settings.value_pull * centre, np.zeros((n, n))], axis=1
        )
        self._mean: FloatArray = np.zeros(3 * n)
        self._cov: FloatArray = np.zeros((3 * n, 3 * n))
        self._momentum: FloatArray = np.zeros(n)
        self._quarter_level = 0.0
        self._last: tuple[Seen, FloatArray] | None = None

    def step(self, seen: Seen) -> Belief:
        """Take in one session and return what to believe at its close."""
        driver = self.structure.stationary
        if self._last is None:
            self._start(seen)
            level = driver @ self.structure.macro_level
            probability = self._macro(driver, level, seen)
        else:
            before, probability = self._last
            returns = seen.log_close - before.log_close
            driver = self._returns(probability, returns, seen.log_volume)
            self._learn_from_returns(driver, returns, before)
            self._move(returns)
            probability = self._macro(driver @ self.structure.transition, before.macro, seen)
        self._read_news(seen)
        self._read_reports(seen)
        self._last = (seen, probability)
        return self._belief(probability, driver, relative(seen.log_close))

    def _start(self, seen: Seen) -> None:
        n, spread = self._n, self.settings.value_spread**2
        place = relative(seen.log_close)
        self._mean = np.concatenate([np.zeros(n), place, place])
        self._quarter_level = float(seen.log_close.mean())
        self._cov[n:, n:] = spread * np.tile(np.eye(n), (2, 2))

    def _returns(
        self, probability: FloatArray, returns: FloatArray, volume: FloatArray
    ) -> FloatArray:
        """Weigh the regimes by the index's return and the level of volume: exact."""
        st = self.structure
        freedom = st.tail_freedom
        scale = st.volatility * np.sqrt((freedom - 2.0) / freedom)
        usual = float(st.stationary @ st.volatility) * st.deviation
        level = np.mean(
            volume - np.log(st.base_volume) - st.volume_slope * np.abs(returns) / usual
        )
        return _normalise(
            _log(probability)
            + student.logpdf(returns.mean(), freedom, st.drift, scale)
            + norm.logpdf(level, st.volume_level, st.volume_noise / np.sqrt(self._n))
        )

    def _macro(self, probability: FloatArray, last: FloatArray, seen: Seen) -> FloatArray:
        """Weigh the regimes by the macro series' new values: exact."""
        st = self.structure
        keep = st.macro_persistence
        mean = keep * last + (1.0 - keep) * st.macro_level
        like = np.sum(norm.logpdf(seen.macro, mean, st.macro_noise), axis=1)
        return _normalise(_log(probability) + like)

    def _mixture(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean (N,) and covariance (N, N) of returns over regimes, state aside."""
        st = self.structure
        means = st.technical(self._momentum)
        mean = weights @ means
        apart = means - mean
        shocks = float(weights @ np.square(st.volatility)) * st.covariance
        return mean, shocks + (weights[:, None] * apart).T @ apart

    def _learn_from_returns(self, driver: FloatArray, returns: FloatArray, before: Seen) -> None:
        mean, noise = self._mixture(driver)
        known = self.settings.value_pull * relative(before.log_close)
        self._update(self._look, returns - mean + known, noise)

    def _move(self, returns: FloatArray) -> None:
        """Carry the state over a session: drifts decay, values wander, momentum is computed."""
        n, keep = self._n, self.structure.news_decay
        fade = np.ones(3 * n)
        fade[:n] = keep
        self._mean = self._mean * fade
        self._cov = self._cov * np.outer(fade, fade)
        middle = np.arange(n, 2 * n)
        self._cov[middle, middle] += self.settings.value_volatility**2
        decay = self.structure.momentum_decay
        self._momentum = decay * self._momentum + (1.0 - decay) * relative(returns)

    def _read_news(self, seen: Seen) -> None:
        strength, first = self.settings.news_strength, np.arange(self._n)
        self._mean[first] += strength * seen.sentiment
        self._cov[first, first] += strength**2 * self.reading.variance * seen.items

    def _read_reports(self, seen: Seen) -> None:
        n = self._n
        if seen.filed is not None:
            look = np.concatenate([np.zeros((n, 2 * n)), np.eye(n)], axis=1)
            noise = self.settings.report_noise**2 * np.eye(n)
            self._update(look, seen.filed - self._quarter_level, noise)
        if seen.quarter_end:
            pick = np.r_[np.arange(2 * n), np.arange(n, 2 * n)]
            self._mean, self._cov = self._mean[pick], self._cov[np.ix_(pick, pick)]
            self._quarter_level = float(seen.log_close.mean())

    def _update(self, look: FloatArray, value: FloatArray, noise: FloatArray) -> None:
        """Condition the state on `value = look @ state + noise` (Kalman 1960)."""
        cross = self._cov @ look.T
        gain = np.linalg.solve(look @ cross + noise, cross.T).T
        self._mean = self._mean + gain @ (value - look @ self._mean)
        cov = self._cov - gain @ cross.T
        self._cov = (cov + cov.T) / 2.0

    def _belief(self, probability: FloatArray, driver: FloatArray, place: FloatArray) -> Belief:
        n = self._n
        mean, noise = self._mixture(probability)
        known = self.settings.value_pull * place
        return Belief(
            probability=probability,
            driver=driver,
            news_drift=self._mean[:n],
            value_gap=relative(self._mean[n : 2 * n] - place),
            state_covariance=self._cov[: 2 * n, : 2 * n],
            momentum=self._momentum,
            expected_return=mean + self._look @ self._mean - known,
            covariance=noise + self._look @ self._cov @ self._look.T,
        )


def observe(market: SimulatedMarket, reading: Reading) -> Iterator[Seen]:
    """Yield what a market's sessions show, from its messages and its prices alone."""
    st = market.structure
    column = {symbol: i for i, symbol in enumerate(st.symbols)}
    items, sentiment = np.zeros(market.close.shape), np.zeros(market.close.shape)
    for item in market.news:
        if item.source == "wire":
            at = int(np.searchsorted(market.ts_close, item.ts_init)), column[item.symbol]
            items[at] += 1.0
            sentiment[at] += reading.intercept + reading.slope * reading.score(item.headline)
    filed: dict[int, FloatArray] = {}
    ends = set()
    for report in market.fundamentals:
        known, i = int(np.searchsorted(market.ts_close, report.ts_init)), column[report.symbol]
        value = np.log(4.0 * report.figures["eps"] / st.earnings_yield[i])
        filed.setdefault(known, np.zeros(len(st.symbols)))[i] = value
        ends.add(report.ts_event)
    for k, ts in enumerate(market.ts_close.tolist()):
        yield Seen(
            log_close=np.log(market.close[k]),
            log_volume=np.log(market.volume[k]),
            macro=market.macro_values[k],
            items=items[k],
            sentiment=sentiment[k],
            quarter_end=ts in ends,
            filed=filed.get(k),
        )


def beliefs(market: SimulatedMarket, reading: Reading | None = None) -> list[Belief]:
    """Return the belief at each session's close: (T,)."""
    filtered = BayesFilter(market.structure, market.settings, reading)
    return [filtered.step(seen) for seen in observe(market, filtered.reading)]


def _log(probability: FloatArray) -> FloatArray:
    return np.log(np.maximum(probability, 1e-300))


def _normalise(log_weights: FloatArray) -> FloatArray:
    return np.asarray(np.exp(log_weights - logsumexp(log_weights)), dtype=np.float64)
