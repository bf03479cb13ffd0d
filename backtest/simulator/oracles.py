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
from typing import Any

import clarabel
import numpy as np
from scipy import sparse

from agents.arrays import BoolArray, FloatArray
from backtest.simulator.filter import Belief, Reading, beliefs
from backtest.simulator.simulated_market import SimulatedMarket, simulate
from backtest.simulator.structure import MACRO_NAMES, SESSIONS_PER_YEAR, relative
from backtest.statistics.sharpe import sharpe_score
from config.costs import COST_FRAC
from config.errors import DataError
from config.settings import LimitSettings
from config.simulator import SimulatorSettings

MOVES = (1, 2, 3, 4, 10)  # sessions between a plan's rebalancings
BPS = 1e4  # the objective is in basis points: the solver's tolerance is absolute
REBALANCE = 21  # sessions between the rebalancings of equal weight
SOLVED = (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved)


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
class Outlook:
    """
    What an oracle expects at each close of a market, whatever it may hold and whatever it holds.

    Shapes: mean (T, 1 + sum(MOVES), N), simple returns over cash of the sessions ahead;
    covariance (T, N, N) of the next session's log returns; NaN before the first decision.
    """

    mean: FloatArray
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
    The receding-horizon program, laid out once and solved at every close.

    maximise   sum_b  mean_b . w_b - aversion/2 len_b w_b' covariance w_b - cost |w_b - w_b-1|_1
    subject to 0 <= w_b <= position limit, group sums <= group limit, sum(w_b) <= gross limit

    Clarabel minimises x' P x / 2 + q' x over A x <= b, the first rows with equality. Here x is
    (w, r, first, later): r_b = sqrt(len_b) root' w_b with the covariance's root, then bounds on
    the sizes of the first moves and of the later ones. Each runs instrument by instrument, in an
    instrument move by move. A close has its own mean in q, root in A and held weights in b.
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
        n, m = len(st.symbols), len(MOVES)
        groups = np.eye(len(st.sector_names))[st.sector]
        most = limits.max_position * (np.ones(n) if tradable is None else tradable)
        self._overnight = st.overnight_mean
        self._shape = n, m
        self._rows = _rows(groups)
        # where A keeps the root: the first n entries of each of w's columns
        self._root = (self._rows.indptr[: n * m, None] + np.arange(n)).ravel()
        risk = np.repeat([0.0, aversion, 0.0], n * m)
        self._risk = sparse.csc_array(np.diag(risk))
        self._gain = np.repeat([0.0, cost_frac * BPS], [2 * n * m, n * m])
        self._bound = np.concatenate(
            [
                np.zeros(4 * n * m),
                np.repeat(most, m),
                np.full(m, limits.max_gross),
                np.full(m * groups.shape[1], limits.max_group),
            ]
        )
        self._solver: clarabel.DefaultSolver | None = None

    def target(self, mean: FloatArray, covariance: FloatArray, held: FloatArray) -> FloatArray:
        """
        Return the weights to hold from the next opening on, (N,).

        Shapes: mean (1 + sum(MOVES), N), of simple returns over cash, by session; held (N,). A
        position earns from opening to opening: what is left of one session and the overnight
        share of the next. Raises DataError where the program has no answer.
        """
        n, m = self._shape
        earned = (1.0 - self._overnight) * mean[:-1] + self._overnight * mean[1:]
        starts = np.cumsum([0, *MOVES[:-1]])
        gain = self._gain.copy()
        gain[: n * m] = -(BPS * np.add.reduceat(earned, starts, axis=0)).T.ravel()
        root = np.linalg.cholesky(BPS * covariance)
        bound = self._bound.copy()
        bound[2 * n * m : 2 * n * m + 2 * n] = np.concatenate([held, -held])
        scaled = np.sqrt(MOVES)[:, None] * root[:, None, :]  # (N, moves, N)
        self._rows.data[self._root] = scaled.ravel()
        answer = self._solve(gain, bound)
        if answer.status not in SOLVED:
            raise DataError(f"expected a plan for the oracle, was {answer.status}")
        return np.maximum(np.asarray(answer.x)[: n * m : m], 0.0)

    def _solve(self, gain: FloatArray, bound: FloatArray) -> Any:
        """Return Clarabel's answer; the first close's numbers scale those of all."""
        if self._solver is not None:
            # P has not changed, but without it the last bits depend on the solve before
            self._solver.update(P=self._risk.data, q=gain, A=self._rows.data, b=bound)
            return self._solver.solve()
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        equal = self._shape[0] * self._shape[1]
        cones = [clarabel.ZeroConeT(equal), clarabel.NonnegativeConeT(len(bound) - equal)]
        self._solver = clarabel.DefaultSolver(self._risk, gain, self._rows, bound, cones, settings)
        return self._solver.solve()


def _rows(groups: FloatArray) -> sparse.csc_array:
    """
    Return the program's A, with a placeholder of the root; shape: groups (N, G).

    Its rows are r's equations, w's floor, the moves' bounds from above and below, and the
    position, gross and group limits.
    """
    n, m = len(groups), len(MOVES)
    every, own, move = sparse.eye_array(n * m), sparse.eye_array(n), sparse.eye_array(m)
    first = sparse.kron(own, np.eye(m)[:1])
    later = sparse.kron(own, np.diff(np.eye(m), axis=0))
    first_bound, later_bound = sparse.eye_array(n), sparse.eye_array(n * (m - 1))
    blocks: Any = [
        [sparse.kron(np.ones((n, n)), move), -every, None, None],
        [-every, None, None, None],
        [first, None, -first_bound, None],
        [-first, None, -first_bound, None],
        [later, None, None, -later_bound],
        [-later, None, None, -later_bound],
        [every, None, None, None],
        [sparse.kron(np.ones((1, n)), move), None, None, None],
        [sparse.kron(groups.T, move), None, None, None],
    ]
    rows: sparse.csc_array = sparse.block_array(blocks, format="csc")
    return rows


class Holdings:
    """An account of fractional shares: it trades at openings with costs; cash earns interest."""

    def __init__(self, market: SimulatedMarket, cost_frac: float) -> None:
        self._market, self._cost = market, cost_frac
        self._units: FloatArray = np.zeros(market.close.shape[1])
        self._cash = 1.0
        self._risk_free = risk_free(market)

    def weights(self, t: int) -> FloatArray:
        """Return what is held at close t, as fractions of equity: (N,)."""
        holdings = self._units * self._market.close[t]
        return np.asarray(holdings / (self._cash + holdings.sum()))

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
        self._cash *= 1.0 + self._risk_free[t - 1]
        return float(self._cash + self._units @ self._market.close[t])


def risk_free(market: SimulatedMarket) -> FloatArray:
    """Return the risk-free simple return of a session as published at each close: (T,)."""
    percent = market.macro_values[:, MACRO_NAMES.index("risk_free")]
    return np.maximum(percent, 0.0) / 100.0 / SESSIONS_PER_YEAR


def state_outlook(market: SimulatedMarket) -> Outlook:
    """Return what one expects who knows the present hidden state, but no future shock."""
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

    return _outlook(market, view)


def filter_outlook(market: SimulatedMarket, reading: Reading | None = None) -> Outlook:
    """Return what one expects who holds the Bayes filter's beliefs."""
    held: list[Belief] = beliefs(market, reading)

    def view(t: int) -> View:
        b = held[t]
        return View(b.probability, b.news_drift, b.value_gap, b.momentum, b.covariance)

    return _outlook(market, view)


def _outlook(market: SimulatedMarket, view: Callable[[int], View]) -> Outlook:
    ahead, free = sum(MOVES) + 1, risk_free(market)
    sessions, n = market.close.shape
    mean, covariance = np.full((sessions, ahead, n), np.nan), np.full((sessions, n, n), np.nan)
    for t in range(_first(market), sessions):
        now = view(t)
        mean[t] = forecast(market, now, ahead) + np.diag(now.covariance) / 2.0 - free[t]
        covariance[t] = now.covariance
    return Outlook(mean, covariance)


def oracle_run(
    market: SimulatedMarket,
    outlook: Outlook,
    cost_frac: float = COST_FRAC,
    limits: LimitSettings | None = None,
    aversion: float = 5.0,
    tradable: BoolArray | None = None,
) -> OracleRun:
    """
    Return the run of one who plans by an outlook at each close.

    `tradable` (N,) are the instruments that may be held, all by default; the rest still inform.
    """
    cost = own_cost(market, cost_frac)
    plan = Plan(market, cost, limits or LimitSettings(), aversion, tradable)

    def target(t: int, held: FloatArray) -> FloatArray:
        return plan.target(outlook.mean[t], outlook.covariance[t], held)

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
    first = _first(market)
    sessions, n = market.close.shape
    book = Holdings(market, cost_frac)
    weights, equity = np.full((sessions, n), np.nan), np.ones(sessions)
    for t in range(first, sessions - 1):
        wanted = target(t, book.weights(t))
        weights[t] = book.weights(t) if wanted is None else wanted
        equity[t + 1] = book.session(t + 1, wanted)
    return OracleRun(weights, equity)


def _first(market: SimulatedMarket) -> int:
    """Return the close of the first decision: the warm-up's last."""
    return max(market.settings.warm_up - 1, 0)


def own_cost(market: SimulatedMarket, cost_frac: float) -> float:
    """Return the cost per fill: the instruments' own where they have one."""
    own = market.settings.cost_bps
    return cost_frac if own is None else own / 1e4


def oracle_sharpe(market: SimulatedMarket, equity: FloatArray) -> float:
    """Return the annual Sharpe ratio of an equity path over cash after warm-up; 0 for cash."""
    first = _first(market)
    path = equity[first:]
    excess = path[1:] / path[:-1] - 1.0 - risk_free(market)[first:-1]
    return sharpe_score(excess, SESSIONS_PER_YEAR)


def oracle_report(
    settings: SimulatorSettings,
    seeds: Iterable[int],
    cost_frac: float = COST_FRAC,
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
            "state_oracle": oracle_run(market, state_outlook(market), cost_frac, limits),
            "filter_oracle": oracle_run(market, filter_outlook(market), cost_frac, limits),
            "equal_weight": follow(market, equal_weight, cost),
            "buy_and_hold": follow(market, buy_and_hold, cost),
        }
        for name, run in runs.items():
            out.setdefault(name, []).append(oracle_sharpe(market, run.equity))
    return out


def main() -> None:
    """Print the report on the default market over five seeds: `python -m` this module."""
    for name, ratios in oracle_report(SimulatorSettings(), range(5)).items():
        by_seed = " ".join(f"{r:6.2f}" for r in ratios)
        print(f"{name:14}{by_seed}   mean {np.mean(ratios):.2f}")


if __name__ == "__main__":
    main()
