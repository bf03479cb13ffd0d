"""
The two references on a simulated market: what can be earned with its equations in hand.

Both solve the same convex program at each close and carry out its first move at the next
opening; they differ in what they know. The state oracle is given the present hidden state and
the laws by which it decays, and no future shock; the filter oracle is given the Bayes filter's
belief. The program looks twenty sessions ahead in five moves (move blocking), so that a slow
signal can pay for its trade. It knows costs and the position, group and gross limits, long
only; it knows no spread, no VaR limit and no stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from backtest.simulator.filter import Belief, Reading, beliefs
from backtest.simulator.market import SimulatedMarket, simulate
from backtest.simulator.structure import (
    MACRO_NAMES,
    SESSIONS_PER_YEAR,
    FloatArray,
    relative,
)
from config.settings import LimitSettings
from config.simulator import SimulatorSettings

type BoolArray = NDArray[np.bool_]

MOVES = (1, 2, 3, 4, 10)  # sessions between a plan's rebalancings
DEFAULT_COST = 0.003
BPS = 1e4  # the objective is in basis points: the solver's tolerance is absolute
REBALANCE = 21  # sessions between the rebalancings of equal weight


@dataclass(frozen=True)
class View:
    """
    What an oracle takes as the state at a close.

    Shapes: probability (K,), news_drift, value_gap, momentum (N,); covariance (N, N) of the next
    session's log returns.
    """

    probability: FloatArray
    news_drift: FloatArray
    value_gap: FloatArray
    momentum: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class OracleRun:
    """
    Targets decided at each close and what they earned, net of costs.

    Shapes: weights (T, N), NaN before the first decision; equity (T,) at each close, 1 until then.
    """

    weights: FloatArray
    equity: FloatArray


def forecast(market: SimulatedMarket, view: View, sessions: int) -> FloatArray:
    """
    Return the mean log return of each of the next sessions, no shock foreseen: (sessions, N).

    Later rows take momentum and regime as independent given the view.
    """
    st, pull = market.structure, market.settings.value_pull
    p, news, gap, momentum = view.probability, view.news_drift, view.value_gap, view.momentum
    out = np.empty((sessions, len(news)))
    for h in range(sessions):
        out[h] = p @ st.technical(momentum) + relative(news) + pull * gap
        apart = relative(out[h])
        p, news, gap = p @ st.transition, news * st.news_decay, gap - apart
        momentum = st.momentum_decay * momentum + (1.0 - st.momentum_decay) * apart
    return out


class Plan:
    """
    The receding-horizon program, compiled once (DPP) and solved at every close.

    maximise   sum_b  mean_b . w_b - aversion/2 len_b w_b' covariance w_b - cost |w_b - w_b-1|_1
    subject to 0 <= w_b <= position limit, group sums <= group limit, sum(w_b) <= gross limit
    """

    def __init__(
        self,
        market: SimulatedMarket,
        cost_frac: float,
        limits: LimitSettings,
        aversion: float,
        tradable: BoolArray | None = None,
    ) -> None:
        st = market.structure
        n = len(st.symbols)
        most = limits.max_position * (np.ones(n) if tradable is None else tradable)
        self._overnight = st.overnight_mean
        self._held = cp.Parameter(n)
        self._mean = cp.Parameter((len(MOVES), n))
        self._root = cp.Parameter((n, n))
        self._weights = cp.Variable((len(MOVES), n), nonneg=True)
        groups = np.eye(len(st.sector_names))[st.sector]
        w = self._weights
        risk = cp.sum_squares(cp.multiply(np.sqrt(MOVES)[:, None], w) @ self._root)
        moved = cp.abs(w[0] - self._held) + cp.sum(cp.abs(w[1:] - w[:-1]), axis=0)
        gain = cp.sum(cp.multiply(self._mean, w)) - aversion / 2.0 * risk
        self._problem = cp.Problem(
            cp.Maximize(gain - cost_frac * BPS * cp.sum(moved)),
            [
                w <= most[None, :],
                cp.sum(w, axis=1) <= limits.max_gross,
                w @ groups <= limits.max_group,
            ],
        )

    def target(self, mean: FloatArray, covariance: FloatArray, held: FloatArray) -> FloatArray:
        """
        Return the weights to hold from the next opening on, (N,).

        Shapes: mean (1 + sum(MOVES), N), of simple returns over cash, by session; held (N,). A
        position earns from opening to opening: what is left of one session and the overnight
        share of the next.
        """
        earned = (1.0 - self._overnight) * mean[:-1] + self._overnight * mean[1:]
        starts = np.cumsum([0, *MOVES[:-1]])
        self._mean.value = BPS * np.add.reduceat(earned, starts, axis=0)
        self._root.value = np.linalg.cholesky(BPS * covariance)
        self._held.value = held
        self._problem.solve(solver=cp.CLARABEL, ignore_dpp=False)
        return np.asarray(np.maximum(self._weights.value[0], 0.0))


class Holdings:
    """An account of fractional shares: trades at openings with costs, cash earns the riskless."""

    def __init__(self, market: SimulatedMarket, cost_frac: float) -> None:
        self._market, self._cost = market, cost_frac
        self._units: FloatArray = np.zeros(market.close.shape[1])
        self._cash = 1.0
        self._riskless = riskless(market)

    def weights(self, t: int) -> FloatArray:
        """Return what is held at close t, as fractions of equity: (N,)."""
        worth = self._units * self._market.close[t]
        return np.asarray(worth / (self._cash + worth.sum()))

    def session(self, t: int, target: FloatArray | None) -> float:
        """Go through session t, trading to `target` (N,) at its opening; return the equity."""
        if target is not None:
            price = self._market.open[t]
            held = self._units * price
            equity = self._cash + held.sum()
            fee = self._cost * np.abs(target * equity - held).sum()
            wanted = target * (equity - fee)
            self._cash = equity - wanted.sum() - self._cost * np.abs(wanted - held).sum()
            self._units = wanted / price
        self._cash *= 1.0 + self._riskless[t - 1]
        return float(self._cash + self._units @ self._market.close[t])


def riskless(market: SimulatedMarket) -> FloatArray:
    """Return the riskless simple return of a session as published at each close: (T,)."""
    percent = market.macro_values[:, MACRO_NAMES.index("risk_free")]
    return np.maximum(percent, 0.0) / 100.0 / SESSIONS_PER_YEAR


def state_oracle(
    market: SimulatedMarket,
    cost_frac: float = DEFAULT_COST,
    limits: LimitSettings | None = None,
    aversion: float = 5.0,
    tradable: BoolArray | None = None,
) -> OracleRun:
    """
    Return the run of one who knows the present hidden state, but no future shock.

    `tradable` (N,) are the instruments that may be held, all by default; the rest still inform.
    """
    st = market.structure
    pure = np.eye(len(st.drift))

    def view(t: int) -> View:
        z = market.regime[t]
        return View(
            probability=pure[z],
            news_drift=market.news_drift[t],
            value_gap=market.value_gap[t],
            momentum=market.momentum[t],
            covariance=st.volatility[z] ** 2 * st.covariance,
        )

    return _run(market, view, cost_frac, limits or LimitSettings(), aversion, tradable)


def filter_oracle(
    market: SimulatedMarket,
    cost_frac: float = DEFAULT_COST,
    limits: LimitSettings | None = None,
    aversion: float = 5.0,
    tradable: BoolArray | None = None,
    reading: Reading | None = None,
) -> OracleRun:
    """Return the run of one who holds the Bayes filter's beliefs; `tradable` as above."""
    held: list[Belief] = beliefs(market, reading)

    def view(t: int) -> View:
        b = held[t]
        return View(b.probability, b.news_drift, b.value_gap, b.momentum, b.covariance)

    return _run(market, view, cost_frac, limits or LimitSettings(), aversion, tradable)


def _run(
    market: SimulatedMarket,
    view: Callable[[int], View],
    cost_frac: float,
    limits: LimitSettings,
    aversion: float,
    tradable: BoolArray | None,
) -> OracleRun:
    cost = own_cost(market, cost_frac)
    plan = Plan(market, cost, limits, aversion, tradable)
    ahead, free = sum(MOVES) + 1, riskless(market)

    def target(t: int, held: FloatArray) -> FloatArray:
        now = view(t)
        mean = forecast(market, now, ahead) + np.diag(now.covariance) / 2.0 - free[t]
        return plan.target(mean, now.covariance, held)

    return follow(market, target, cost)


def follow(
    market: SimulatedMarket,
    target: Callable[[int, FloatArray], FloatArray | None],
    cost_frac: float,
) -> OracleRun:
    """
    Return the run of any rule that is asked at each close from the warm-up's last on.

    `target(t, held)` gives the weights to trade to at opening t + 1, None to leave them.
    """
    first = max(market.settings.warm_up - 1, 0)
    sessions, n = market.close.shape
    book = Holdings(market, cost_frac)
    weights, equity = np.full((sessions, n), np.nan), np.ones(sessions)
    for t in range(first, sessions - 1):
        wanted = target(t, book.weights(t))
        weights[t] = book.weights(t) if wanted is None else wanted
        equity[t + 1] = book.session(t + 1, wanted)
    return OracleRun(weights, equity)


def own_cost(market: SimulatedMarket, cost_frac: float) -> float:
    """Return the cost per fill: the instruments' own where they have one."""
    own = market.settings.cost_bps
    return cost_frac if own is None else own / 1e4


def sharpe(market: SimulatedMarket, equity: FloatArray) -> float:
    """Return the annualised Sharpe ratio of an equity path over cash after warm-up; 0 for cash."""
    first = max(market.settings.warm_up - 1, 0)
    path = equity[first:]
    excess = path[1:] / path[:-1] - 1.0 - riskless(market)[first:-1]
    deviation = float(excess.std())
    return float(excess.mean()) / deviation * SESSIONS_PER_YEAR**0.5 if deviation > 1e-12 else 0.0


def oracle_report(
    settings: SimulatorSettings,
    seeds: Iterable[int],
    cost_frac: float = DEFAULT_COST,
    limits: LimitSettings | None = None,
) -> dict[str, list[float]]:
    """
    Return the net Sharpe ratio by seed of both oracles, equal weight and buy-and-hold.

    Equal weight trades back to it every 21 sessions, buy-and-hold starts from it.
    """
    first = max(settings.warm_up - 1, 0)
    equal = np.full(settings.instruments, 1.0 / settings.instruments)

    def equal_weight(t: int, _: FloatArray) -> FloatArray | None:
        return equal if (t - first) % REBALANCE == 0 else None

    def buy_and_hold(t: int, _: FloatArray) -> FloatArray | None:
        return equal if t == first else None

    out: dict[str, list[float]] = {}
    for seed in seeds:
        market = simulate(settings, seed)
        cost = own_cost(market, cost_frac)
        runs = {
            "state_oracle": state_oracle(market, cost_frac, limits),
            "filter_oracle": filter_oracle(market, cost_frac, limits),
            "equal_weight": follow(market, equal_weight, cost),
            "buy_and_hold": follow(market, buy_and_hold, cost),
        }
        for name, run in runs.items():
            out.setdefault(name, []).append(sharpe(market, run.equity))
    return out


def main() -> None:
    """Print the report on the default market over five seeds: `python -m` this module."""
    for name, ratios in oracle_report(SimulatorSettings(), range(5)).items():
        by_seed = " ".join(f"{r:6.2f}" for r in ratios)
        print(f"{name:14}{by_seed}   mean {np.mean(ratios):.2f}")


if __name__ == "__main__":
    main()
