"""The training loader says what the desk sees."""

import numpy as np

from agents.juniors.lexicon import sentiment
from agents.messages import MacroValue
from learning.datasets.tensors import compute_tensors, session_bars
from tests.conftest import session
from tests.unit.learning.seen_by_desk import check_desk_sees

MACRO = tuple(
    MacroValue(series="vix", ts_event=session(d)[0], ts_init=session(d)[0], value=15.0 + d % 7)
    for d in range(90)
)


def test_the_desk_decides_on_exactly_what_trainers_are_given(make_market):
    actions = [("AAA", 30, 2.0, 0.0), ("BBB", 75, 1.0, 0.4), ("CCC", 80, 1.5, 0.0)]
    market = make_market(sessions=90, macro=MACRO, actions=actions)
    tensors = compute_tensors(market, score=sentiment)
    check_desk_sees(
        market, 70, ts=tensors.ts, features=tensors.features, macro=tensors.macro, cases=20
    )


def test_a_halt_is_a_hole_and_shapes_are_aligned(make_market):
    market = make_market(sessions=40)
    kept = market.bars[
        ~((market.bars["symbol"] == "BBB") & (market.bars["ts_close"] == session(20)[1]))
    ]
    bars = session_bars(type(market)(**{**market.__dict__, "bars": kept}))
    assert bars.shape == (40, 4, 5)
    assert np.isnan(bars[20, 1]).all()
    assert np.isfinite(np.delete(bars.reshape(160, 5), 20 * 4 + 1, axis=0)).all()
