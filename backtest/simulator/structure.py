"""
What does not change in a simulated market: its instruments, their links, and the rates.

Everything here is drawn once from (settings, seed), never depends on the market's length, and
is known to both oracles. It knows no path and no time.
"""

from dataclasses import dataclass

import numpy as np

from agents.arrays import FloatArray, IntArray
from config.simulator import REGIMES, SimulatorSettings

SESSIONS_PER_YEAR = 252.0
SECTORS = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
)

# name: level in bull, bear, sideways; persistence; noise per session; decimals. The VIX is in
# points, the yields, the spread and the risk-free rate in percent a year, the commodity an index.
MACRO = {
    "vix": ((14.0, 29.0, 18.0), 0.90, 1.60, 2),
    "yield_short": ((2.2, 1.4, 1.9), 0.99, 0.03, 4),
    "yield_long": ((3.1, 2.6, 2.7), 0.985, 0.04, 4),
    "credit_spread": ((1.1, 2.6, 1.5), 0.96, 0.08, 4),
    "commodity": ((110.0, 90.0, 100.0), 0.98, 1.2, 3),
    "risk_free": ((2.0, 1.2, 1.7), 0.99, 0.02, 4),
}
MACRO_NAMES = tuple(MACRO)


def stream(seed: int, number: int) -> np.random.Generator:
    """Return the generator of one purpose; drawing (T, ...) row by row keeps prefixes equal."""
    return np.random.default_rng([seed, number])


@dataclass(frozen=True)
class Structure:
    """
    The constants of one market; docs/simulator.md gives the symbols.

    Shapes, with K = 3 regimes, N instruments, G sectors, J macro series: transition (K, K) rows
    from, columns to; stationary (K,); drift, volatility, momentum (K,) per session; tilt (K, N);
    beta (N,), mean 1; covariance (N, N) of an instrument's shocks where the index's variance is
    1, and loading (N, 1 + G + N) with covariance = loading @ loading.T; macro_level (K, J),
    macro_persistence, macro_noise (J,).
    """

    symbols: tuple[str, ...]
    names: tuple[str, ...]
    sector: IntArray
    sector_names: tuple[str, ...]
    beta: FloatArray
    loading: FloatArray
    covariance: FloatArray
    transition: FloatArray
    stationary: FloatArray
    drift: FloatArray
    volatility: FloatArray
    tilt: FloatArray
    momentum: FloatArray
    momentum_decay: float
    news_decay: float
    first_price: FloatArray
    shares: FloatArray
    earnings_yield: FloatArray
    base_volume: FloatArray
    volume_level: FloatArray
    volume_slope: float
    volume_noise: float
    macro_level: FloatArray
    macro_persistence: FloatArray
    macro_noise: FloatArray
    tail_freedom: float
    overnight_mean: float

    @property
    def base_drift(self) -> float:
        """The index's stationary drift per session."""
        return float(self.stationary @ self.drift)

    @property
    def deviation(self) -> FloatArray:
        """The shock's standard deviation of each instrument, in units of the index's: (N,)."""
        return np.sqrt(np.diag(self.covariance))

    def technical(self, momentum: FloatArray) -> FloatArray:
        """
        Return the drift by regime that comes from regime, sector and momentum, base included.

        Shapes: momentum (N,) -> (K, N). Its mean over the instruments is `drift`.
        """
        return self.drift[:, None] * self.beta + self.tilt + self.momentum[:, None] * momentum


def relative[A: FloatArray](values: A) -> FloatArray:
    """Return values less their mean over the instruments, the last axis."""
    return np.asarray(values - values.mean(axis=-1, keepdims=True), dtype=np.float64)


def build_structure(settings: SimulatorSettings, seed: int) -> Structure:
    """Draw a market's constants."""
    s, n, g = settings, settings.instruments, settings.sectors
    rng = stream(seed, 0)
    sector = np.arange(n, dtype=np.int64) % g
    beta = 1.0 + 0.2 * np.clip(rng.standard_normal(n), -2.0, 2.0)
    beta /= beta.mean()
    own = 1.0 + 0.2 * np.clip(rng.standard_normal(n), -2.0, 2.0)
    market_share = 1.0 - s.sector_share - s.own_share
    loading = np.concatenate(
        [
            np.sqrt(market_share) * beta[:, None],
            np.sqrt(s.sector_share) * np.eye(g)[sector],
            np.sqrt(s.own_share) * np.diag(own),
        ],
        axis=1,
    )
    loading /= np.linalg.norm(loading.mean(axis=0))
    stay = 1.0 - 1.0 / np.asarray(s.regime_sessions)
    # a bull market rarely turns straight into a bear one; both mostly pass through sideways
    leave = np.array([[0.0, 0.35, 0.65], [0.35, 0.0, 0.65], [0.6, 0.4, 0.0]])
    transition = np.diag(stay) + (1.0 - stay)[:, None] * leave
    tilt = _tilts(rng, s, sector)
    names = _names(rng, n)
    level = np.array([MACRO[m][0] for m in MACRO_NAMES]).T
    return Structure(
        symbols=tuple(f"SIM{i:03d}" for i in range(n)),
        names=names,
        sector=sector,
        sector_names=tuple(SECTORS[k] for k in sorted(rng.permutation(len(SECTORS))[:g])),
        beta=beta,
        loading=loading,
        covariance=loading @ loading.T,
        transition=transition,
        stationary=_stationary(transition),
        drift=np.asarray(s.drift_per_year) / SESSIONS_PER_YEAR,
        volatility=np.asarray(s.volatility_per_year) / np.sqrt(SESSIONS_PER_YEAR),
        tilt=tilt,
        momentum=np.asarray(s.momentum_strength),
        momentum_decay=0.5 ** (1.0 / s.momentum_half_life),
        news_decay=0.5 ** (1.0 / s.news_half_life),
        first_price=np.round(np.exp(rng.uniform(np.log(30.0), np.log(200.0), n)), 2),
        shares=np.round(np.exp(rng.uniform(np.log(2e8), np.log(2e9), n)), -5),
        earnings_yield=1.0 / np.exp(rng.normal(np.log(18.0), 0.15, n)),
        base_volume=np.exp(rng.uniform(np.log(1e6), np.log(1e7), n)),
        volume_level=np.array([0.0, 0.25, -0.05]),
        volume_slope=0.25,
        volume_noise=0.30,
        macro_level=level,
        macro_persistence=np.array([MACRO[m][1] for m in MACRO_NAMES]),
        macro_noise=np.array([MACRO[m][2] for m in MACRO_NAMES]),
        tail_freedom=s.tail_freedom,
        overnight_mean=(1.0 - s.gap_probability) * s.overnight_share
        + s.gap_probability * s.gap_share,
    )


def _tilts(rng: np.random.Generator, s: SimulatorSettings, sector: IntArray) -> FloatArray:
    """Return each regime's excess drift by instrument: cyclical sectors lead in a bull market."""
    cyclical = rng.permutation(np.linspace(-1.0, 1.0, s.sectors)) if s.sectors > 1 else np.zeros(1)
    other = rng.permutation(cyclical)
    by_sector = np.stack([cyclical, -cyclical, other]) * s.tilt_per_year / SESSIONS_PER_YEAR
    return relative(by_sector[:, sector])


def _stationary(transition: FloatArray) -> FloatArray:
    k = len(REGIMES)
    a = np.concatenate([transition.T - np.eye(k), np.ones((1, k))])
    return np.asarray(np.linalg.lstsq(a, np.r_[np.zeros(k), 1.0], rcond=None)[0])


def _names(rng: np.random.Generator, n: int) -> tuple[str, ...]:
    """Return n distinct invented company names that hold no word a lexicon knows."""
    first = ["Al", "Bren", "Cor", "Dun", "El", "Far", "Gal", "Hal", "Is", "Jor", "Kel", "Lan"]
    second = ["dane", "mere", "wick", "ton", "berg", "vik", "mont", "ley", "dale", "sen"]
    third = ["Systems", "Industries", "Group", "Holdings", "Labs", "Partners", "Works", "Corp"]
    words = [f"{a}{b} {c}" for a in first for b in second for c in third]
    return tuple(words[k] for k in rng.permutation(len(words))[:n])
