"""The gate's promise on whole lots, at the prices that orders are sent at."""

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.gate.measures import measure
from agents.gate.rules import Holding
from agents.messages import Instrument
from config.settings import LimitSettings
from strategies.risk import Gate

LIMITS = LimitSettings()


def make_gate(seed: int, n: int, *, shortable: bool, limits: LimitSettings = LIMITS) -> Gate:
    rng = np.random.default_rng(seed)
    gate = Gate(
        [
            Instrument(symbol=f"S{i:02}", venue="SIM", group=f"G{i % 3}", shortable=shortable)
            for i in range(n)
        ],
        limits,
    )
    factor = rng.standard_t(4, (260, 1)) * 0.01
    returns = factor * rng.normal(0.7, 0.7, (1, n)) + rng.standard_t(4, (260, n)) * 0.01
    gate.close_session(rng.uniform(5, 900, n), np.full(n, 1e9), returns, 100_000.0)
    return gate


def make_holding(rng: np.random.Generator, gate: Gate, size: float, shortable: bool) -> Holding:
    n = len(gate.instruments)
    price = gate._last_close * np.exp(rng.normal(0, 0.03, n))
    weight = rng.normal(0, size, n) * (rng.random(n) < 0.6)
    if not shortable:
        weight = np.abs(weight)
    lot = np.where(rng.random(n) < 0.2, 10.0, 1.0)
    equity = float(rng.uniform(20_000, 2_000_000))
    return Holding(np.trunc(weight * equity / price / lot) * lot, price, np.ones(n), lot, equity)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 20),
    st.floats(0.001, 0.5),
    st.floats(0.0, 0.4),
    st.booleans(),
)
def test_no_order_takes_a_measure_beyond_its_limit_or_worsens_a_breach(
    seed, n, ask, hold, shortable
):
    rng = np.random.default_rng(seed)
    gate = make_gate(seed, n, shortable=shortable)
    holding = make_holding(rng, gate, hold, shortable)
    forced = (rng.random(n) < 0.1) & (holding.quantity != 0)
    movable = (rng.random(n) < 0.9) | forced
    judged = gate.judge(rng.normal(0, ask, n), holding, movable, forced & movable.all())
    after = measure(holding.weights(judged.quantity), gate.model)
    before = measure(holding.weights(), gate.model)
    for name, limit in (
        ("position", LIMITS.max_position),
        ("group", LIMITS.max_group),
        ("gross", LIMITS.max_gross),
        ("correlation", LIMITS.max_correlation),
        ("var", LIMITS.max_var),
    ):
        cap = np.maximum(limit, getattr(before, name))
        assert np.all(getattr(after, name) <= cap * (1 + 1e-6) + 1e-9), name
    changed = judged.quantity != holding.quantity
    assert not np.any(changed & ~movable)
    assert np.all(judged.quantity[changed] % holding.lot[changed] == 0)
    if movable.all():
        assert np.all(judged.quantity[forced] == 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_with_the_kill_switch_on_nothing_grows(seed, n):
    limits = msgspec.structs.replace(LIMITS, kill_switch=True)
    gate = make_gate(seed, n, shortable=True, limits=limits)
    rng = np.random.default_rng(seed)
    holding = make_holding(rng, gate, 0.1, True)
    everything = np.ones(n, bool)
    judged = gate.judge(rng.normal(0, 0.2, n), holding, everything, ~everything)
    assert np.all(np.abs(judged.quantity) <= np.abs(holding.quantity))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_after_a_halt_nothing_grows(seed, n):
    gate = make_gate(seed, n, shortable=True)
    rng = np.random.default_rng(seed)
    holding = make_holding(rng, gate, 0.1, True)
    everything = np.ones(n, bool)
    gate.halt()
    judged = gate.judge(rng.normal(0, 0.2, n), holding, everything, ~everything)
    assert np.all(np.abs(judged.quantity) <= np.abs(holding.quantity))


def test_an_order_far_from_the_last_close_is_refused_and_named():
    gate = make_gate(0, 3, shortable=False)
    price = gate._last_close * np.array([1.0, 1.5, 1.0])
    holding = Holding(np.zeros(3), price, np.ones(3), np.ones(3), 1e6)
    everything = np.ones(3, bool)
    judged = gate.judge(np.full(3, 0.02), holding, everything, ~everything)
    assert judged.quantity[1] == 0
    lines = gate.verdict("d", 1, "dispatch", judged).lines
    assert [line.limit for line in lines] == ["", "collar", ""]


def test_beyond_the_order_rate_only_reductions_are_sent():
    limits = msgspec.structs.replace(LIMITS, max_orders_per_session=1)
    gate = make_gate(0, 3, shortable=False, limits=limits)
    holding = Holding(np.zeros(3), gate._last_close, np.ones(3), np.ones(3), 1e6)
    everything = np.ones(3, bool)
    judged = gate.judge(np.full(3, 0.02), holding, everything, ~everything)
    assert np.count_nonzero(judged.quantity) == 1
