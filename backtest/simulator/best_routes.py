"""
The best route of each case on the simulated market: what each subset of juniors would earn.

A case is an instrument at a session's close. From what a trader can see (headlines, prices, the
VIX, filings) it takes the size e_j of each kind of evidence: the estimated drift over the
horizon, net of the market, in standard deviations of the instrument's own return over it. A
junior asked about the case gives a view e_j s_j + tau_j eps: its evidence, with its own sign s_j,
through a reading error that the state sets (news: stale news reads badly; technical: sideways
markets; fundamental: old filings). A route's position is the sum of its views, clipped to one;
the reward is position * return - position² / 2 - the route's cost, with return = sum_j e_j s_j +
own noise of deviation 1. A trader can compute all of it. docs/supervisor.md gives the equations.

A route's expected reward is the mean over signs, reading errors and noise, in closed form: which
way evidence points is what juniors are paid to say, so a router that knew it would need none.
Like the filter oracle, this knows what is visible and not the hidden state. It knows no learner.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import ndtr

from agents.arrays import FloatArray, IntArray
from agents.messages import JUNIORS, ROUTES
from backtest.simulator.simulated_market import SimulatedMarket
from backtest.simulator.structure import relative
from backtest.simulator.text import level_of, level_values

HORIZON = 20  # sessions: the horizon "long"
LIMIT = 3.0  # of a position, in full views
FULL_VIEW = 0.2  # deviations of a horizon's return that are worth a full position
POOL = 1_000  # look-alike cases that one reward averages
SIGNS = np.array([(1.0, *rest) for rest in product((1.0, -1.0), repeat=2)])  # (4, 3), half of all
MEMBERS = np.array([[name in route for name in JUNIORS] for route in ROUTES])  # (7, 3)
HIT_WINDOW = 120  # closed outcomes that a hit rate looks back on
TREND_SPAN = 0.008  # of daily momentum, from the lowest trend strength to the highest
FRESH_NEWS = 5.0  # sessions in which news loses 1 - 1/e of its freshness
FRESH_FILING = 40.0  # sessions, the same for a filing
TAU_BEST, TAU_WORST = 0.20, 2.00  # reading errors of a junior in its best and its worst state


@dataclass(frozen=True)
class RouteMarket:
    """
    Cases with their contexts and what decides their rewards.

    Shapes: contexts (M, 16), named by `agents.features.routing_context.CONTEXT_NAMES`; evidence
    e_j s_j as observed and errors tau_j (M, 3), in JUNIORS' order; `costs` (7,) of asking by
    each route, in reward units; `expected` (M, 7) is each route's expected reward, net of them.
    """

    contexts: FloatArray
    evidence: FloatArray
    errors: FloatArray
    costs: FloatArray
    expected: FloatArray

    @property
    def best(self) -> IntArray:
        """The best route of each case; shapes: (M,)."""
        return np.argmax(self.expected, axis=1)

    @property
    def spread(self) -> float:
        """The mean over cases of the standard deviation between the seven expected rewards."""
        return float(self.expected.std(axis=1).mean())

    def regret(self, case: int, arm: int) -> float:
        """What asking by this arm loses against the best route, in expected reward."""
        row = self.expected[case]
        return float(row.max() - row[arm])

    def draw(self, case: int, arm: int, pool: int, generator: np.random.Generator) -> float:
        """Return one realised reward: the mean over `pool` look-alikes of the case."""
        sizes, errors, asked = np.abs(self.evidence[case]), self.errors[case], MEMBERS[arm]
        evidence = sizes * generator.choice((-1.0, 1.0), (pool, len(JUNIORS)))
        views = evidence + errors * generator.standard_normal((pool, len(JUNIORS)))
        position = np.clip(views[:, asked].sum(axis=1), -LIMIT, LIMIT)
        outcome = evidence.sum(axis=1) + generator.standard_normal(pool) / FULL_VIEW
        earned = position * outcome - 0.5 * position**2
        return float(earned.mean() - self.costs[arm])


def route_market(market: SimulatedMarket, costs: FloatArray) -> RouteMarket:
    """
    Return the cases of a simulated market, ordered by session and then by instrument.

    `costs` (7,) are what asking by each route costs, in reward units.
    The first `HORIZON + HIT_WINDOW` sessions only feed the trailing measures.
    """
    s, st = market.settings, market.structure
    own = st.deviation * np.sqrt(s.own_share)  # of the index's deviation, per session
    regime = regime_filter(market)
    unit = FULL_VIEW * (regime @ st.volatility)[:, None] * own * np.sqrt(HORIZON)  # (T, N)
    news, news_age = _news(market)
    trend = market.momentum  # its relative part is an average of closes, so a trader has it
    technical = np.einsum("tk,tkn->tn", regime, np.stack([st.technical(m) for m in trend]))
    gap, filing_age = _value_gap(market)

    keep = st.momentum_decay
    spans = (_sum_of_powers(st.news_decay), _sum_of_powers(keep), _sum_of_powers(1 - s.value_pull))
    drifts = (news, relative(technical), s.value_pull * gap)
    signed = np.stack([d * span / unit for d, span in zip(drifts, spans, strict=True)], -1)
    sizes = np.abs(signed)
    clarity = np.stack(
        [
            np.exp(-news_age / FRESH_NEWS),
            np.broadcast_to((1.0 - regime[:, 2])[:, None], news.shape),
            np.exp(-filing_age / FRESH_FILING),
        ],
        axis=-1,
    )
    errors = TAU_BEST + (TAU_WORST - TAU_BEST) * (1.0 - clarity)

    loud = sizes / (sizes + 0.3)
    ranked = np.sort(loud, axis=-1)
    realised = np.diff(market.log_price, axis=0, prepend=market.log_price[:1])
    contexts = np.concatenate(
        [
            np.broadcast_to(regime[:, None, :], (*news.shape, 3)),
            np.minimum(_trailing(realised**2, 20) ** 0.5 / 0.03, 1.0)[:, :, None],
            loud,
            (ranked[..., 1] / ranked[..., 2])[..., None],
            np.full((*news.shape, 1), 1.0),
            clarity[..., :1],
            np.minimum(np.abs(news) / (3.0 * s.news_strength), 1.0)[..., None],
            clarity[..., 2:],
            np.clip(0.5 + trend / TREND_SPAN, 0.0, 1.0)[..., None],
            _hit_rates(signed, relative(market.log_price)),
        ],
        axis=-1,
    )
    first = HORIZON + HIT_WINDOW
    contexts, evidence, errors = (
        a[first:].reshape(-1, a.shape[-1]) for a in (contexts, signed, errors)
    )
    expected = expected_rewards(np.abs(evidence), errors, costs)
    return RouteMarket(contexts, evidence, errors, costs, expected)


def regime_filter(market: SimulatedMarket) -> FloatArray:
    """Return P(regime | VIX so far) at every close, by the forward algorithm: (T, 3)."""
    st = market.structure
    vix, keep, noise = market.macro_values[:, 0], st.macro_persistence[0], st.macro_noise[0]
    believed = np.empty((len(vix), len(st.stationary)))
    before, last = st.stationary, vix[0]
    for k, value in enumerate(vix):
        error = (value - keep * last - (1.0 - keep) * st.macro_level[:, 0]) / noise
        joint = before * np.exp(-0.5 * (error**2 - (error**2).min()))
        believed[k] = joint / joint.sum()
        before, last = believed[k] @ st.transition, value
    return believed


def _news(market: SimulatedMarket) -> tuple[FloatArray, FloatArray]:
    """Return the drift per session that the headlines tell of, and their age: (T, N) twice."""
    s, st, truth = market.settings, market.structure, market.news_truth
    values = np.array(level_values())
    read = np.array([values[level_of(r) + 2] for r in truth.reading.tolist()])
    news = np.zeros_like(market.log_price)
    known = truth.wire == 1  # the source says which items are chatter
    strength = s.news_strength / np.sqrt(1.0 + s.reading_noise**2)
    np.add.at(news, (truth.session[known], truth.instrument[known]), strength * read[known])
    fresh = np.zeros(news.shape, dtype=bool)
    fresh[truth.session[known], truth.instrument[known]] = True
    drift, age = np.zeros_like(news), np.full(news.shape, 100.0)
    drift[0] = news[0]
    for k in range(1, len(news)):
        drift[k] = st.news_decay * drift[k - 1] + news[k]
        age[k] = np.where(fresh[k], 0.0, age[k - 1] + 1.0)
    return relative(drift), age


def _value_gap(market: SimulatedMarket) -> tuple[FloatArray, FloatArray]:
    """Return the last filing's value over the price, shrunk by its age, and the age: (T, N)."""
    s, reports = market.settings, market.reports
    t, n = market.log_price.shape
    newest = np.searchsorted(reports.filed, np.arange(t), side="right") - 1
    has = newest >= 0
    newest = np.maximum(newest, 0)
    age = np.where(has, np.arange(t) - reports.filed[newest], 200.0)[:, None]
    seen = relative(relative(reports.log_value[newest]) - relative(np.log(market.close)))
    stale = s.value_volatility**2 * (np.arange(t) - reports.session[newest])[:, None]
    wide = s.value_volatility**2 / (2.0 * s.value_pull)  # the gap's variance, at the least
    shrunk = seen * wide / (wide + s.report_noise**2 + stale)
    return np.where(has[:, None], shrunk, 0.0), np.broadcast_to(age, (t, n)).astype(np.float64)


def _hit_rates(signed: FloatArray, log_price: FloatArray) -> FloatArray:
    """Return how often each kind of evidence had the sign of the closed outcomes: (T, N, 3)."""
    ahead = log_price[HORIZON:] - log_price[:-HORIZON]
    hits = (np.sign(signed[:-HORIZON]) == np.sign(ahead)[..., None]).astype(np.float64)
    rates = np.full(signed.shape, 0.5)
    rates[HORIZON:] = (_trailing(hits, HIT_WINDOW) * HIT_WINDOW + 5.0) / (HIT_WINDOW + 10.0)
    return rates


def _trailing(values: FloatArray, window: int) -> FloatArray:
    """Return the mean of the last `window` rows, of fewer at the start; shapes: (T, ...)."""
    total = np.cumsum(values, axis=0)
    total[window:] -= total[:-window].copy()
    count = np.minimum(np.arange(1, len(values) + 1), window)
    return np.asarray(total / count.reshape(-1, *[1] * (values.ndim - 1)))


def _sum_of_powers(decay: float) -> float:
    return (1.0 - decay**HORIZON) / (1.0 - decay)


def expected_rewards(sizes: FloatArray, errors: FloatArray, costs: FloatArray) -> FloatArray:
    """
    Return each route's expected reward in closed form.

    Given the signs a route's summed view is normal, so that the clipped position has known first
    and second moments; opposite signs give the same reward, so four of the eight remain.
    Shapes: sizes and errors (M, 3), costs (7,) -> (M, 7).
    """
    evidence = sizes[:, None, :] * SIGNS  # (M, 4, 3)
    mean = evidence @ MEMBERS.T.astype(np.float64)  # (M, 4, 7)
    deviation = np.sqrt(errors**2 @ MEMBERS.T.astype(np.float64))[:, None, :]
    first, second = clipped_moments(mean / LIMIT, deviation / LIMIT)
    first, second = LIMIT * first, LIMIT**2 * second
    reward = first * evidence.sum(axis=2)[:, :, None] - 0.5 * second
    return np.asarray(reward.mean(axis=1) - costs)


def clipped_moments(mean: FloatArray, deviation: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return E[c] and E[c²] of c = clip(v, -1, 1), v normal; any shapes that broadcast."""
    low, high = (-1.0 - mean) / deviation, (1.0 - mean) / deviation
    below, above = ndtr(low), ndtr(-high)
    inside = 1.0 - below - above
    at_low, at_high = (np.exp(-0.5 * b**2) / np.sqrt(2.0 * np.pi) for b in (low, high))
    first = mean * inside + deviation * (at_low - at_high) + above - below
    second = (
        (mean**2 + deviation**2) * inside
        + 2.0 * mean * deviation * (at_low - at_high)
        + deviation**2 * (low * at_low - high * at_high)
        + above
        + below
    )
    return first, second
