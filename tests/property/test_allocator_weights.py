import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.allocator import build_baseline
from agents.arrays import Panel
from agents.messages import (
    JUNIORS,
    Case,
    InstrumentState,
    MacroState,
    Portfolio,
    Proposal,
    TrackRecord,
)
from config.settings import AllocatorSettings

CONVICTIONS = st.floats(-1.0, 1.0, allow_nan=False)


@st.composite
def markets(draw):
    """Return a case, a panel and proposals: ragged, correlated, with dead instruments."""
    n = draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    symbols = [f"S{i}" for i in range(n)]
    sessions = draw(st.sampled_from([0, 59, 60, 130]))
    returns = rng.standard_normal((sessions, n)) @ rng.standard_normal((n, n))
    returns = returns * 10.0 ** rng.integers(-5, -1, n)
    for i in range(n):
        flaw = draw(st.sampled_from(["", "", "", "late", "holes", "flat", "silent", "copy"]))
        if flaw == "late":
            returns[: sessions // 2, i] = np.nan
        elif flaw == "holes":
            returns[rng.random(sessions) < 0.1, i] = np.nan
        elif flaw == "flat":
            returns[:, i] = 0.0
        elif flaw == "silent":
            returns[:, i] = np.nan
        elif flaw == "copy":
            returns[:, i] = returns[:, 0]
    states = tuple(
        InstrumentState(
            symbol=s,
            group=draw(st.sampled_from(["g1", "g2", "g3"])),
            ts_event=1,
            ts_init=1,
            price=1.0,
            features=(),
            shortable=draw(st.booleans()),
        )
        for s in symbols
    )
    case = Case(
        ts_event=1,
        ts_init=1,
        trigger="schedule",
        horizon="medium",
        instruments=states,
        macro=MacroState(
            ts_event=1,
            ts_init=1,
            features=(),
            regime=draw(st.sampled_from(["bull", "bear", "sideways"])),
        ),
        portfolio=Portfolio(equity=1.0, cash=1.0, drawdown=0.0),
        track=(
            TrackRecord(
                junior="news",
                hits=25,
                calls=50,
                rank_ic=draw(st.floats(-1.0, 1.0)),
                outcomes=draw(st.floats(0.0, 1e4)),
            ),
        ),
    )
    proposals = [
        Proposal(
            symbol=s,
            action=draw(st.sampled_from(["BUY", "SELL", "HOLD"])),
            conviction=draw(CONVICTIONS),
            horizon=draw(st.sampled_from(["short", "medium", "long"])),
            rationale="",
            cites=draw(st.sampled_from([(), ("o1",)])),
        )
        for s in symbols
        if draw(st.booleans())
    ]
    return case, Panel(tuple(symbols), returns), proposals


def heard(numbers):
    """Return the baseline where a round trip costs 0 or 0.2%, and fresh juniors are good."""
    costs = {f"S{i}": 0.002 * (i % 2) for i in range(7)}
    return build_baseline(numbers, round_trip=costs, prior_ic=dict.fromkeys(JUNIORS, 0.05))


ALLOCATORS = st.sampled_from([0.0, 0.5, 1.0, 3.0]).map(lambda g: AllocatorSettings(gross=g))


@settings(max_examples=30, deadline=None)
@given(markets(), ALLOCATORS)
def test_weights_are_finite_signed_as_allowed_and_within_every_budget(market, numbers):
    case, panel, proposals = market
    allocation = heard(numbers).allocate(case, panel, proposals)
    states = {s.symbol: s for s in case.instruments}
    assert list(allocation.weights) == sorted(states)
    for symbol, weight in allocation.weights.items():
        assert np.isfinite(weight)
        assert weight >= 0.0 or states[symbol].shortable
    assert sum(map(abs, allocation.weights.values())) <= numbers.gross + 1e-8
    for group in {s.group for s in case.instruments}:
        members = [s for s in allocation.weights if states[s].group == group]
        placed = sum(abs(allocation.weights[s]) for s in members)
        budget = allocation.group_budgets.get(group, 0.0)
        assert placed <= budget + 1e-8
        sold = any(p.symbol in members and p.action == "SELL" for p in proposals)
        if not sold and not any(states[s].shortable for s in members):
            assert abs(placed - budget) <= 1e-8


@settings(max_examples=30, deadline=None)
@given(markets(), ALLOCATORS)
def test_only_views_that_spoke_are_told_from_the_baseline_allocation(market, numbers):
    case, panel, proposals = market
    allocation = heard(numbers).allocate(case, panel, proposals)
    spoke = [p for p in proposals if p.symbol in allocation.views]
    assert {p.symbol for p in spoke} == set(allocation.views)
    assert heard(numbers).allocate(case, panel, spoke) == allocation
    if not allocation.views:
        assert allocation == build_baseline(numbers).allocate(case, panel, [])


@settings(max_examples=12, deadline=None)
@given(markets(), st.randoms(use_true_random=False))
def test_the_order_of_instruments_does_not_matter(market, random):
    case, panel, proposals = market
    allocator = heard(AllocatorSettings())
    order = list(range(len(panel.symbols)))
    random.shuffle(order)
    mixed = msgspec.structs.replace(case, instruments=tuple(case.instruments[i] for i in order))
    shuffled = Panel(tuple(panel.symbols[i] for i in order), panel.returns[:, order])
    assert allocator.allocate(mixed, shuffled, proposals[::-1]) == allocator.allocate(
        case, panel, proposals
    )


@settings(max_examples=30, deadline=None)
@given(markets(), CONVICTIONS, CONVICTIONS)
def test_a_stronger_view_never_lowers_its_instruments_weight(market, one, other):
    case, panel, proposals = market
    allocator = heard(AllocatorSettings())
    symbol = panel.symbols[0]
    weights = []
    for conviction in sorted((one, other)):
        view = Proposal(
            symbol=symbol,
            action="BUY" if conviction > 0 else "SELL",
            conviction=conviction,
            horizon="medium",
            rationale="",
            cites=("o1",),
        )
        rest = [p for p in proposals if p.symbol != symbol]
        weights.append(allocator.allocate(case, panel, [*rest, view]).weights[symbol])
    assert weights[0] <= weights[1] + 1e-9
