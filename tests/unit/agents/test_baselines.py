import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agents.arrays import Panel
from agents.baselines import BASELINES, BuyAndHold, EqualWeight, MovingAverage, trend_signs
from agents.messages import Case, Decision, InstrumentState, MacroState, Portfolio

DAY = 86_400_000_000_000
JAN_30 = 1_706_572_800_000_000_000  # 2024-01-30T00:00Z
EMPTY = Panel((), np.empty((0, 0)))


def _case(held, ts=JAN_30, prices=None, shortable=()):
    return Case(
        ts_event=ts,
        ts_init=ts,
        trigger="schedule",
        horizon="medium",
        instruments=tuple(
            InstrumentState(
                symbol=s, group="Tech" if s < "C" else "Energy", ts_event=ts, ts_init=ts,
                price=(prices or {}).get(s, 10.0), features=(), weight=w,
                shortable=s in shortable,
            )
            for s, w in sorted(held.items())
        ),
        macro=MacroState(ts_event=ts, ts_init=ts, features=(), regime="bear"),
        portfolio=Portfolio(equity=1.0, cash=1.0, drawdown=0.0),
    )  # fmt: skip


def _weights(mind, case, panel=EMPTY):
    return mind.decide(case, panel, latency_ns=2, expires=DAY).allocation.weights


@pytest.mark.parametrize("make", BASELINES)
def test_a_baselines_decision_is_stamped_named_and_silent(make):
    mind = make()
    case = _case({"A": 0.0, "B": 0.0, "C": 0.0})
    decision = mind.decide(case, EMPTY, latency_ns=2, expires=DAY)
    assert mind.name in ("buy-and-hold", "equal-weight", "moving-average")
    assert mind.needs_features is False
    assert decision.decision_id == case.decision_id
    assert (decision.ts_event, decision.ts_init) == (JAN_30, JAN_30 + 2)
    assert decision.expires == DAY
    assert decision.minds == decision.allocation.top_policy == f"baseline:{mind.name}"
    assert decision.allocation.bottom_policy == decision.allocation.top_policy
    assert decision.routes == decision.opinions == decision.proposals == ()
    assert list(decision.allocation.group_budgets) == ["Energy", "Tech"]
    assert mind.track() == ()
    assert mind.learn([]) is None
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision


def test_the_baselines_have_three_different_names():
    assert [make().name for make in BASELINES] == [
        "buy-and-hold",
        "equal-weight",
        "moving-average",
    ]


def test_buy_and_hold_shares_equally_what_has_a_price():
    case = _case({"A": 0.0, "B": 0.0, "C": 0.0}, prices={"B": float("nan")})
    assert _weights(BuyAndHold(), case) == {"A": 0.5, "B": 0.0, "C": 0.5}


def test_buy_and_hold_asks_for_what_it_holds_and_not_for_later_listings():
    case = _case({"A": 0.7, "B": 0.21, "C": 0.0})
    assert _weights(BuyAndHold(), case) == {"A": 0.7, "B": 0.21, "C": 0.0}


def test_buy_and_hold_asks_again_while_nothing_is_held():
    mind, case = BuyAndHold(), _case({"A": 0.0, "B": 0.0})
    assert _weights(mind, case) == _weights(mind, case) == {"A": 0.5, "B": 0.5}


@pytest.mark.parametrize("count", [1, 3, 6, 7, 88])
def test_equal_weights_never_sum_to_more_than_one(count):
    case = _case({f"S{i:02d}": 0.0 for i in range(count)})
    total = sum(_weights(BuyAndHold(), case).values())
    assert 1.0 - 1e-8 < total <= 1.0


def test_equal_weight_rebalances_when_the_month_turns_and_holds_between():
    mind, drifted, equal = EqualWeight(), {"A": 0.6, "B": 0.3}, {"A": 0.5, "B": 0.5}
    stamps = [JAN_30, JAN_30 + DAY, JAN_30 + 2 * DAY, JAN_30 + 3 * DAY]
    answers = [_weights(mind, _case(drifted, ts)) for ts in stamps]
    assert answers == [equal, drifted, equal, drifted]


def test_equal_weight_answers_the_same_case_alike_and_buys_when_nothing_is_held():
    mind, drifted = EqualWeight(), {"A": 0.6, "B": 0.3}
    case = _case(drifted)
    assert _weights(mind, case) == _weights(mind, case) == {"A": 0.5, "B": 0.5}
    empty = _case({"A": 0.0, "B": 0.0}, JAN_30 + DAY)
    assert _weights(mind, empty) == {"A": 0.5, "B": 0.5}


def _trend(*drifts, sessions=150):
    names = tuple("ABCD"[: len(drifts)])
    return Panel(names, np.tile(np.array(drifts), (sessions, 1)))


def test_moving_average_is_long_rises_flat_in_falls_and_short_where_it_may_be():
    case = _case(dict.fromkeys("ABCD", 0.0), shortable="C")
    weights = _weights(MovingAverage(), case, _trend(0.001, -0.001, -0.001, 0.0))
    assert weights == {"A": 0.25, "B": 0.0, "C": -0.25, "D": 0.0}


def test_moving_average_needs_its_slow_window_and_a_price():
    case = _case(dict.fromkeys("AB", 0.0), prices={"B": 0.0})
    assert _weights(MovingAverage(), case, _trend(0.001, 0.001, sessions=99))["A"] == 0.0
    assert _weights(MovingAverage(), case, _trend(0.001, 0.001, sessions=100)) == {
        "A": 1.0,
        "B": 0.0,
    }


def test_moving_average_skips_sessions_without_trade_and_what_the_panel_lacks():
    panel = _trend(0.001)
    panel.returns[::10, 0] = np.nan
    weights = _weights(MovingAverage(), _case(dict.fromkeys("AB", 0.0)), panel)
    assert weights == {"A": 0.5, "B": 0.0}


def test_the_trend_is_the_twenty_session_mean_against_the_hundred_session_mean():
    turn = np.concatenate([np.full(80, 0.01), np.full(20, -0.02)])
    price = np.cumprod(1.0 + turn)
    assert np.sign(price[-20:].mean() - price[-100:].mean()) == 1
    longer = np.concatenate([turn, np.full(30, -0.02)])
    once_missing = np.insert(longer, 40, np.nan)
    for returns, sign in (
        (turn, 1),
        (longer, -1),
        (np.concatenate([np.full(500, 0.5), longer]), -1),
        (once_missing, -1),
    ):
        assert trend_signs(returns[:, None]).tolist() == [sign]
    together = np.column_stack([longer, np.append(turn, np.zeros(30))])
    alone = [trend_signs(column[:, None])[0] for column in together.T]
    assert trend_signs(together).tolist() == alone


def test_importing_the_baselines_is_light():
    code = "import sys, agents.baselines; print({'skfolio', 'pandas', 'torch'} & set(sys.modules))"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "set()"
