import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from skfolio.moments import LedoitWolf
from skfolio.optimization import HierarchicalRiskParity
from skfolio.prior import EmpiricalPrior

from agents.allocator import build_baseline
from agents.allocator.estimates import estimate
from agents.allocator.hrp import (
    EXPOSURE,
    HierarchicalParityTop,
    risk_parity_shares,
    shrunk_covariance,
)
from agents.allocator.tiers import GroupBudgets, Placement, TieredAllocator
from agents.arrays import Panel
from agents.messages import (
    JUNIORS,
    Allocation,
    Case,
    InstrumentState,
    MacroState,
    Portfolio,
    Proposal,
    TrackRecord,
)
from config.errors import ConfigError
from config.settings import AllocatorSettings

ROOT = Path(__file__).parents[3]
SETTINGS = AllocatorSettings()


def _case(groups, regime="bull", shortable=()):
    states = tuple(
        InstrumentState(
            symbol=s, group=g, ts_event=1, ts_init=1, price=10.0, features=(),
            shortable=s in shortable,
        )
        for s, g in sorted(groups.items())
    )  # fmt: skip
    return Case(
        ts_event=1,
        ts_init=1,
        trigger="schedule",
        horizon="medium",
        instruments=states,
        macro=MacroState(ts_event=1, ts_init=1, features=(), regime=regime),
        portfolio=Portfolio(equity=1.0, cash=1.0, drawdown=0.0),
    )


def _panel(symbols, sessions=252, seed=0, scale=0.01):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((sessions, 1))
    own = rng.standard_normal((sessions, len(symbols)))
    return Panel(tuple(symbols), scale * (0.5 * common + own))


def _proposal(symbol, conviction, action=None, cites=("o1",)):
    action = action or ("BUY" if conviction > 0 else "SELL")
    return Proposal(
        symbol=symbol, action=action, conviction=conviction, horizon="medium",
        rationale="", cites=cites,
    )  # fmt: skip


GROUPS = {"A": "Energy", "B": "Energy", "C": "Health", "D": "Health", "E": "Tech"}
PAIRS = {"EURUSD": "forex", "GBPUSD": "forex", "USDJPY": "forex"}


def _heard(settings=SETTINGS, cost=0.0, ic=0.05):
    """Return the baseline where trading costs little and juniors are known to be good."""
    return build_baseline(
        settings,
        round_trip=dict.fromkeys([*GROUPS, *PAIRS], cost),
        prior_ic=dict.fromkeys(JUNIORS, ic),
    )


def test_without_views_every_group_places_its_whole_budget():
    allocation = build_baseline(SETTINGS).allocate(_case(GROUPS), _panel(GROUPS), [])
    assert sum(allocation.group_budgets.values()) == pytest.approx(1.0, abs=1e-9)
    for group, budget in allocation.group_budgets.items():
        placed = sum(w for s, w in allocation.weights.items() if GROUPS[s] == group)
        assert placed == pytest.approx(budget, abs=1e-9)
        assert budget > 0.0
    assert allocation.top_policy == "hrp-baseline"
    assert allocation.bottom_policy == "black-litterman-baseline"
    assert list(allocation.weights) == sorted(GROUPS)


@pytest.mark.parametrize("regime", ["bull", "sideways", "bear"])
def test_the_regime_scales_what_is_put_to_work(regime):
    allocation = build_baseline(SETTINGS).allocate(_case(GROUPS, regime), _panel(GROUPS), [])
    assert allocation.regime == regime
    assert sum(allocation.weights.values()) == pytest.approx(EXPOSURE[regime], abs=1e-9)


def test_allocator_with_zero_gross_places_nothing():
    allocator = _heard(AllocatorSettings(gross=0.0))
    allocation = allocator.allocate(_case(GROUPS), _panel(GROUPS), [_proposal("A", 1.0)])
    assert set(allocation.weights.values()) == {0.0}


def test_a_sell_exits_and_leaves_the_rest_of_its_group_in_cash():
    allocator = _heard(SETTINGS)
    before = allocator.allocate(_case(GROUPS), _panel(GROUPS), [])
    after = allocator.allocate(_case(GROUPS), _panel(GROUPS), [_proposal("A", -0.6)])
    assert after.weights["A"] == 0.0
    assert after.weights["B"] == before.weights["B"]
    assert sum(after.weights.values()) < sum(before.weights.values())


def test_a_weak_sell_tilts_its_weight_down_and_never_below_zero():
    allocator = _heard(SETTINGS)
    before = allocator.allocate(_case(GROUPS), _panel(GROUPS), []).weights["A"]
    after = allocator.allocate(_case(GROUPS), _panel(GROUPS), [_proposal("A", -0.2)]).weights["A"]
    assert 0.0 <= after < before


def test_a_buy_takes_over_what_a_sell_in_its_group_freed():
    bold = _heard(AllocatorSettings(risk_aversion=2.0))
    allocation = bold.allocate(
        _case(GROUPS), _panel(GROUPS), [_proposal("A", -0.6), _proposal("B", 1.0)]
    )
    assert allocation.weights["A"] == 0.0
    assert allocation.weights["B"] == pytest.approx(allocation.group_budgets["Energy"], abs=1e-9)


def test_what_can_be_shorted_has_no_weight_without_a_view_and_a_signed_one_with_it():
    case = _case(PAIRS, shortable=PAIRS)
    allocator = _heard(SETTINGS)
    assert set(allocator.allocate(case, _panel(PAIRS), []).weights.values()) == {0.0}
    views = [_proposal("EURUSD", -0.1), _proposal("GBPUSD", 0.1)]
    weights = allocator.allocate(case, _panel(PAIRS), views).weights
    assert weights["EURUSD"] < 0.0 < weights["GBPUSD"]
    assert weights["USDJPY"] == 0.0


def test_an_allocation_names_the_instruments_whose_views_spoke():
    views = [_proposal("E", 0.4), _proposal("A", -0.2), _proposal("B", 0.5, "HOLD")]
    allocation = _heard().allocate(_case(GROUPS), _panel(GROUPS), views)
    assert allocation.views == ("A", "E")


def test_views_that_do_not_earn_their_round_trip_leave_the_baseline_allocation():
    views = [_proposal(s, 1.0 if s < "C" else -1.0) for s in GROUPS]
    baseline = build_baseline(SETTINGS).allocate(_case(GROUPS), _panel(GROUPS), [])
    assert _heard(cost=0.01).allocate(_case(GROUPS), _panel(GROUPS), views) == baseline
    assert _heard().allocate(_case(GROUPS), _panel(GROUPS), views) != baseline
    assert _heard().allocate(_case(GROUPS), _panel(GROUPS), []) == baseline


def test_a_fresh_author_on_an_instrument_of_unknown_cost_is_not_heard():
    views = [_proposal(s, 1.0) for s in GROUPS]
    allocation = build_baseline(SETTINGS).allocate(_case(GROUPS), _panel(GROUPS), views)
    assert allocation.views == ()


def test_juniors_whose_opinions_misled_lose_their_views():
    case = _case(GROUPS)
    bad = [TrackRecord(junior=j, hits=0, calls=0, rank_ic=-0.1, outcomes=60) for j in JUNIORS]
    misled = msgspec.structs.replace(case, track=tuple(bad))
    views = [_proposal("A", 0.8)]
    assert _heard().allocate(case, _panel(GROUPS), views).views == ("A",)
    assert _heard().allocate(misled, _panel(GROUPS), views).views == ()


def test_short_and_ragged_histories_get_nothing():
    returns = _panel("ABCDEF").returns.copy()
    returns[: 252 - 59, 0] = np.nan  # A: 59 returns
    returns[::3, 1] = np.nan  # B: trades on two sessions of three
    returns[: 252 - 60, 2] = np.nan  # C: 60 returns, just enough
    returns[:, 3] = 0.0  # D: never moves
    returns[:, 4] = np.nan  # E: never trades
    groups = dict.fromkeys("ABCDEFG", "Tech")  # G is not in the panel at all
    panel = Panel(tuple("ABCDEF"), returns)
    assert estimate(panel, 252).symbols == ("C", "F")
    weights = build_baseline(SETTINGS).allocate(_case(groups), panel, []).weights
    assert {s for s, w in weights.items() if w > 0.0} == {"C", "F"}
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-9)


def test_infinite_returns_count_as_missing():
    panel = _panel("AB")
    panel.returns[5, 0] = np.inf
    estimates = estimate(panel, 252)
    assert np.isnan(estimates.returns["A"][5])
    assert np.isfinite(estimates.volatility["A"])


def test_only_the_lookback_is_seen():
    groups = dict.fromkeys("AB", "Tech")
    old, new = _panel("AB", seed=1, scale=0.5), _panel("AB", sessions=100, seed=2)
    long = Panel(("A", "B"), np.vstack([old.returns, new.returns]))
    allocator = build_baseline(AllocatorSettings(lookback=100))
    assert allocator.allocate(_case(groups), long, []) == allocator.allocate(
        _case(groups), new, []
    )


def test_one_instrument_has_its_groups_whole_budget():
    allocation = build_baseline(SETTINGS).allocate(_case({"A": "Tech"}), _panel("A"), [])
    assert allocation.weights == {"A": 1.0}
    assert allocation.group_budgets == {"Tech": 1.0}


def test_nothing_to_trade_is_an_empty_allocation():
    allocation = build_baseline(SETTINGS).allocate(_case({}), Panel((), np.empty((0, 0))), [])
    assert allocation.weights == {}
    assert allocation.group_budgets == {}


def test_an_empty_or_missing_history_places_nothing():
    for returns in (np.empty((0, 5)), np.full((252, 5), np.nan)):
        panel = Panel(tuple(GROUPS), returns)
        allocation = build_baseline(SETTINGS).allocate(_case(GROUPS), panel, [])
        assert set(allocation.weights.values()) == {0.0}
        assert allocation.group_budgets == {}


def test_identical_instruments_share_alike():
    column = _panel("A").returns
    panel = Panel(tuple("ABCD"), np.repeat(column, 4, axis=1))  # a singular covariance
    groups = {"A": "Energy", "B": "Health", "C": "Tech", "D": "Utilities"}
    weights = build_baseline(SETTINGS).allocate(_case(groups), panel, []).weights
    assert list(weights.values()) == pytest.approx([0.25] * 4, abs=1e-9)


def test_groups_whose_members_cancel_share_equally():
    column = _panel("A").returns
    panel = Panel(tuple("ABC"), np.hstack([column, -column, column]))
    allocation = build_baseline(SETTINGS).allocate(
        _case({"A": "Hedge", "B": "Hedge", "C": "Tech"}), panel, []
    )
    assert allocation.group_budgets == {"Hedge": 0.5, "Tech": 0.5}


def test_the_calmer_of_two_groups_is_given_more_by_inverse_variance():
    series = _panel("AB").returns * np.array([1.0, 3.0])
    calm, wild = risk_parity_shares(series)
    assert calm + wild == pytest.approx(1.0)
    assert calm > 3.0 * wild


def _by_skfolio(series):
    prior = EmpiricalPrior(covariance_estimator=LedoitWolf())
    return HierarchicalRiskParity(prior_estimator=prior).fit(series).weights_


@pytest.mark.parametrize("groups", range(2, 13))
@pytest.mark.parametrize("sessions", [20, 252])
def test_risk_parity_equals_skfolios(groups, sessions):
    for seed in range(4):
        rng = np.random.default_rng([groups, sessions, seed])
        factors = rng.standard_t(4, (sessions, 3))
        own = rng.standard_normal((sessions, groups)) * rng.uniform(0.3, 2.0, groups)
        series = 0.01 * (factors @ rng.standard_normal((3, groups)) + own)
        assert risk_parity_shares(series) == pytest.approx(_by_skfolio(series), abs=1e-12)


def test_the_shrunk_covariance_equals_skfolios():
    for groups in (2, 5, 40):  # 40 of 30 sessions: the sample's own is singular
        series = 0.01 * np.random.default_rng(groups).standard_t(3, (30, groups))
        theirs = LedoitWolf().fit(series).covariance_
        assert shrunk_covariance(series) == pytest.approx(theirs, abs=1e-16, rel=1e-12)


def test_series_that_are_one_share_alike_though_nothing_tells_them_apart():
    one = 0.01 * np.random.default_rng(0).standard_normal((60, 1))
    series = np.repeat(one, 3, axis=1)
    assert risk_parity_shares(series) == pytest.approx(_by_skfolio(series), abs=1e-12)


def test_correlated_groups_are_one_branch_of_the_tree():
    rng = np.random.default_rng(3)
    twins, alone = rng.standard_normal((252, 1)), rng.standard_normal((252, 1))
    noise = 0.1 * rng.standard_normal((252, 2))
    shares = risk_parity_shares(0.01 * np.hstack([twins + noise[:, :1], twins, alone]))
    assert shares[2] > 0.4 > shares[:2].max()


def test_the_answer_is_the_same_bytes_in_any_order_and_when_asked_again():
    panel, case = _panel(GROUPS), _case(GROUPS)
    views = [_proposal("A", 0.4), _proposal("C", -0.2), _proposal("E", 0.9)]
    allocator = _heard(SETTINGS)
    first = msgspec.json.encode(allocator.allocate(case, panel, views))
    order = [3, 0, 4, 2, 1]
    shuffled = Panel(tuple("ABCDE"[i] for i in order), panel.returns[:, order])
    mixed = msgspec.structs.replace(case, instruments=tuple(case.instruments[i] for i in order))
    assert msgspec.json.encode(allocator.allocate(case, panel, views)) == first
    assert msgspec.json.encode(allocator.allocate(mixed, shuffled, views[::-1])) == first


SCRIPT = """
import sys
import numpy as np, msgspec
import agents.allocator
from agents.messages import Allocation, Case
from agents.arrays import Panel
from config.settings import AllocatorSettings
case = msgspec.json.decode(sys.stdin.buffer.read(), type=Case)
names = tuple(s.symbol for s in case.instruments)
returns = 0.01 * np.random.default_rng(9).standard_normal((252, len(names)))
allocator = agents.allocator.build_baseline(AllocatorSettings())
sys.stdout.buffer.write(msgspec.json.encode(allocator.allocate(case, Panel(names, returns), [])))
assert not {"skfolio", "sklearn", "pandas", "torch"} & set(sys.modules), "imported"
"""


def test_another_process_gives_the_same_bytes_and_imports_nothing_heavy():
    case = _case(GROUPS)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=msgspec.json.encode(case), capture_output=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    returns = 0.01 * np.random.default_rng(9).standard_normal((252, len(GROUPS)))
    here = build_baseline(SETTINGS).allocate(case, Panel(tuple(GROUPS), returns), [])
    assert done.stdout == msgspec.json.encode(here)
    assert msgspec.json.decode(done.stdout, type=Allocation) == here


def test_a_lookback_shorter_than_the_history_needed_is_refused():
    with pytest.raises(ConfigError, match="expected at least 60 sessions, was 59"):
        build_baseline(AllocatorSettings(lookback=59))


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([_proposal("Z", 0.1)], "expected a symbol of the case, was 'Z'"),
        ([_proposal("A", 0.1), _proposal("A", 0.2)], "expected one proposal for 'A'"),
    ],
)
def test_proposals_that_make_no_sense_are_refused(views, message):
    with pytest.raises(ValueError, match=message):
        build_baseline(SETTINGS).allocate(_case(GROUPS), _panel(GROUPS), views)


def test_a_panel_whose_columns_are_not_its_symbols_is_refused():
    panel = Panel(("A",), np.zeros((100, 2)))
    with pytest.raises(ValueError, match=r"expected returns of shape \(T, 1\), was \(100, 2\)"):
        build_baseline(SETTINGS).allocate(_case(GROUPS), panel, [])


def test_group_budgets_survive_storage_and_refuse_what_is_no_budget():
    goal = GroupBudgets(policy="p", regime="bear", budgets={"Tech": 0.5, "Energy": 0.0})
    assert msgspec.json.decode(msgspec.json.encode(goal), type=GroupBudgets) == goal
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected a finite budget >= 0 for 'Tech'"):
            GroupBudgets(policy="p", regime="bear", budgets={"Tech": bad})


class _Greedy:
    """A bottom policy that puts a fixed weight on each member."""

    name = "greedy"

    def __init__(self, weight, symbol=None):
        self.weight, self.symbol = weight, symbol

    def place(self, case, goal, members, estimates, proposals):
        return Placement({self.symbol or m.symbol: self.weight for m in members})


@pytest.mark.parametrize(
    ("bottom", "message"),
    [
        (_Greedy(0.6), "expected at most 1.0 placed in 'Tech'"),
        (_Greedy(-0.1), "expected a weight that 'A' may have, was -0.1"),
        (_Greedy(float("nan")), "expected a weight that 'A' may have, was nan"),
        (_Greedy(0.1, "Z"), "expected a member of 'Tech', was 'Z'"),
    ],
)
def test_a_bottom_policy_that_breaks_its_promise_is_caught(bottom, message):
    allocator = TieredAllocator(HierarchicalParityTop(gross=1.0), bottom, lookback=252)
    with pytest.raises(ValueError, match=message):
        allocator.allocate(_case({"A": "Tech", "B": "Tech"}), _panel("AB"), [])


def test_a_bottom_policy_may_be_replaced_alone():
    allocator = TieredAllocator(HierarchicalParityTop(gross=1.0), _Greedy(0.25), lookback=252)
    allocation = allocator.allocate(_case({"A": "Tech", "B": "Tech"}), _panel("AB"), [])
    assert allocation.weights == {"A": 0.25, "B": 0.25}
    assert (allocation.top_policy, allocation.bottom_policy) == ("hrp-baseline", "greedy")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "groups", "limit_ms"), [(88, 11, 20.0), (4, 4, 5.0), (4, 1, 2.0)]
)
def test_allocating_is_fast_enough_for_a_daily_backtest(count, groups, limit_ms):
    symbols = [f"S{i:02d}" for i in range(count)]
    case = _case({s: f"g{i % groups:02d}" for i, s in enumerate(symbols)})
    views = [_proposal(s, 0.4) for s in symbols[::2]]
    panels = [_panel(symbols, seed=i) for i in range(50)]
    allocator = build_baseline(SETTINGS)
    allocator.allocate(case, panels[0], views)
    start = time.process_time()
    for panel in panels:
        allocator.allocate(case, panel, views)
    mean_ms = (time.process_time() - start) / len(panels) * 1e3
    print(f"{count} instruments, {groups} groups: {mean_ms:.1f} ms an allocation")
    assert mean_ms < limit_ms
