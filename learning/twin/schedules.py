"""
Random schedules: a small market, a rule book and a path of target weights, all from one seed.

They are what the engine and the twin are run on side by side, so they go where the two could
differ: thin touches, halts, gaps through stops and collars, several currencies, binding limits,
late decisions, odd lots, late listings, delistings, 150 instruments, ruin. Each schedule has a
kind, which forces one such thing; the rest is drawn. The markets are those of `random_market`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from agents.arrays import FloatArray
from agents.messages import Instrument
from backtest.market.market_data import MarketData
from config.settings import DeskSettings, LimitSettings, MarketSettings, Settings, StopKind
from learning.twin.random_market import random_instruments, random_market

KINDS = (
    "holding",
    "flipping",
    "thin volume",
    "gaps",
    "halts",
    "stops",
    "dividends and splits",
    "foreign currency",
    "binding limits",
    "slow decisions",
    "intraday",
    "odd lots",
    "late listings",
    "delistings",
    "wide baskets",
    "volatility stops",
    "volume cuts",
    "ruin",
    "order rate",
    "hold",
)
HOUR_MS = 3_600_000.0
WARM_UP = 12  # sessions before the first decision


@dataclass(frozen=True)
class Schedule:
    """
    What both worlds are to live through.

    `start` is the session at whose close the account is fresh and the first decision is taken;
    targets (S, N) are the weights asked for at each close from there on, NaN for those that are
    held: what is asked to be held is not traded by a decision.
    """

    kind: str
    seed: int
    market: MarketData
    settings: Settings
    start: int
    targets: FloatArray

    @property
    def label(self) -> str:
        """Its name in a report: what makes it again."""
        return f"{self.kind}, seed {self.seed}"


def schedules(count: int, seed: int) -> Iterator[Schedule]:
    """Return `count` schedules, the kinds in turn."""
    for k in range(count):
        yield make_schedule(KINDS[k % len(KINDS)], seed * 1_000_003 + k)


def make_schedule(kind: str, seed: int) -> Schedule:
    """Return one schedule; the same arguments make the same one."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    instruments = random_instruments(kind, rng)
    daily = kind in ("dividends and splits", "wide baskets")
    intraday = kind == "intraday" or (rng.random() < 0.25 and not daily)
    most = 22 if intraday else 40
    sessions = WARM_UP + int(rng.integers(*((4, 9) if kind == "wide baskets" else (12, most))))
    market = random_market(kind, rng, instruments, sessions, WARM_UP, intraday=intraday)
    held = len(market.session_closes) - 1
    return Schedule(
        kind=kind,
        seed=seed,
        market=market,
        settings=_settings(kind, rng, int(np.diff(market.session_closes).min())),
        start=WARM_UP,
        targets=_targets(kind, rng, held - WARM_UP, instruments),
    )


def _settings(kind: str, rng: np.random.Generator, shortest_ns: int) -> Settings:
    tight = kind == "binding limits" or (rng.random() < 0.3 and kind not in ("ruin", "hold"))
    stops = kind == "stops"
    few_orders = kind == "order rate" or rng.random() < 0.2

    def pick(values: list[float]) -> float:
        return float(rng.choice(values))

    limits = LimitSettings(
        max_position=pick([0.05, 0.1, 0.3]) if tight else pick([0.3, 1.0]),
        max_group=pick([0.1, 0.2, 0.4]) if tight else 1.0,
        max_gross=pick([0.2, 0.5, 1.0]) if tight else pick([1.0, 2.0, 4.0]),
        max_var=pick([0.002, 0.01, 0.02]) if tight else 1.0,
        max_correlation=pick([0.1, 0.3, 0.7]) if tight else 1e9,
        headroom=pick([0.9, 0.95, 1.0]),
        stop=_stop(kind, rng),
        stop_sigmas=pick([0.1, 0.3, 0.8]),
        stop_loss=pick([0.005, 0.02]) if stops else pick([0.02, 0.1, 1.0]),
        stop_cooldown_sessions=int(rng.integers(0, 6)),
        max_drawdown=pick([0.02, 0.1]) if rng.random() < 0.2 else 1.0,
        price_collar=pick([0.05, 0.2]) if rng.random() < 0.4 else 1.0,
        stale_sessions=int(rng.integers(1, 4)),
        max_volume_frac=pick([0.005, 0.05, 0.5]) if kind == "volume cuts" else 0.1,
        max_orders_per_session=int(rng.integers(2, 9)) if few_orders else 500,
        min_history=int(rng.integers(1, WARM_UP + 4)),
    )
    if kind in ("ruin", "hold"):  # no limit but the stop trades
        most = dict.fromkeys(("max_position", "max_group", "max_gross"), 20.0)
        limits = msgspec.structs.replace(
            limits, **most, max_var=1e9, max_volume_frac=1e9, max_drawdown=1.0, min_history=1
        )
    latencies_ms = [0.0, 0.0, 2_000.0, 2_000.0, 7 * HOUR_MS]
    if kind == "slow decisions":
        latencies_ms = [7 * HOUR_MS, 18 * HOUR_MS, 23 * HOUR_MS]
    if kind == "hold":
        latencies_ms = [0.0]  # before the next opening, wherever the market trades
    return Settings(
        market=MarketSettings(
            starting_cash=pick([10_000.0, 100_000.0, 12_345_678.9]),
            cost_frac=pick([0.0, 0.0005, 0.003]),
            spread_bps=pick([0.0, 2.0, 25.0]),
            slippage_probability=pick([0.0, 0.5, 0.5, 1.0]),
            open_liquidity_frac=pick([1e-5, 1e-4])
            if kind == "thin volume"
            else pick([1e-3, 0.05]),
            financing_bps_per_year=pick([0.0, 150.0, 2_000.0]),
            delisting_sessions=int(rng.integers(1, 6)),
            delisting_recovery=pick([0.0, 0.4, 1.0]),
        ),
        limits=limits,
        desk=DeskSettings(
            latency_ms=min(pick(latencies_ms), shortest_ns // 1_000_000 - 1.0),
            expiry_sessions=int(rng.integers(1, 4)),
            no_trade_band=pick([0.0, 0.0, 0.01, 0.03]),
            panel_sessions=int(rng.integers(15, 60)),
        ),
        seed=int(rng.integers(2**31)),
    )


def _stop(kind: str, rng: np.random.Generator) -> StopKind:
    if kind == "volatility stops":
        return "volatility"
    return "none" if kind == "ruin" and rng.random() < 0.7 else "fraction"


def _targets(
    kind: str, rng: np.random.Generator, count: int, instruments: tuple[Instrument, ...]
) -> FloatArray:
    """Return (count, N) weights: steps, held stretches, zeros and jumps; signs for all."""
    n = len(instruments)
    size = float(rng.choice([0.05, 0.2, 0.6]))
    if kind == "wide baskets":
        size = float(rng.choice([1.0, 4.0])) / n
    if kind == "ruin":
        signs = [1.0 if rng.random() < 0.5 or not i.shortable else -1.0 for i in instruments]
        return np.tile(signs * rng.uniform(4.0, 10.0, n), (count, 1))
    path = np.zeros((count, n))
    weights = rng.uniform(-size, size, n)
    change = {"holding": 0.1, "flipping": 1.0}.get(kind, 0.5)
    for t in range(count):
        draw = rng.random()
        if kind == "flipping":
            weights = -weights * rng.uniform(0.5, 1.5, n)
            weights = np.clip(weights, -1.0, 1.0)
        elif draw < 0.08:
            weights = np.zeros(n)
        elif draw < 0.2:
            weights = rng.uniform(-1.0, 1.0, n)
        elif draw < 0.2 + change:
            weights = np.clip(weights + rng.normal(0.0, size / 3, n), -1.0, 1.0)
        path[t] = weights
        if kind == "hold" and t:
            path[t, rng.random(n) < 0.9] = np.nan
    return path
