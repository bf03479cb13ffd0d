"""The training loader says what the desk sees."""

import numpy as np
import pytest

from agents.juniors.lexicon import sentiment
from agents.messages import MacroValue
from config.errors import ConfigError
from learning.datasets.tensors import load_tensors, session_bars, split
from tests.conftest import session
from tests.unit.learning.seen_by_desk import check_desk_sees

MACRO = tuple(
    MacroValue(series="vix", ts_event=session(d)[0], ts_init=session(d)[0], value=15.0 + d % 7)
    for d in range(90)
)


def test_the_desk_decides_on_exactly_what_trainers_are_given(make_market, tmp_path):
    actions = [("AAA", 30, 2.0, 0.0), ("BBB", 75, 1.0, 0.4), ("CCC", 80, 1.5, 0.0)]
    market = make_market(sessions=90, macro=MACRO, actions=actions)
    tensors = load_tensors(market, tmp_path, score=sentiment)
    check_desk_sees(
        market, 70, ts=tensors.ts, features=tensors.features, macro=tensors.macro, cases=20
    )


def test_tensors_are_computed_once_and_opened_as_read_only_maps(make_market, tmp_path):
    market = make_market(sessions=40)
    first = load_tensors(market, tmp_path, score=sentiment)

    def never(text: str) -> float:
        raise AssertionError(text)

    again = load_tensors(market, tmp_path, score=never)
    assert isinstance(again.features, np.memmap)
    assert not again.features.flags.writeable
    np.testing.assert_array_equal(first.features, again.features)
    assert len(list(tmp_path.iterdir())) == 1


def test_another_market_has_tensors_of_its_own(make_market, tmp_path):
    load_tensors(make_market(sessions=40), tmp_path, score=sentiment)
    load_tensors(make_market(sessions=40, seed=2), tmp_path, score=sentiment)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_halt_is_a_hole_and_shapes_are_aligned(make_market, tmp_path):
    market = make_market(sessions=40)
    kept = market.bars[
        ~((market.bars["symbol"] == "BBB") & (market.bars["ts_close"] == session(20)[1]))
    ]
    bars = session_bars(type(market)(**{**market.__dict__, "bars": kept}))
    assert bars.shape == (40, 4, 5)
    assert np.isnan(bars[20, 1]).all()
    assert np.isfinite(np.delete(bars.reshape(160, 5), 20 * 4 + 1, axis=0)).all()


def test_windows_beyond_the_data_fall_back_to_shares_with_a_purge(make_market, tmp_path):
    tensors = load_tensors(make_market(sessions=90), tmp_path, score=sentiment)
    train, validation = split(tensors)
    assert (train, validation) == (slice(0, 60), slice(80, 90))
    with pytest.raises(ConfigError, match="beyond a purge of 80"):
        split(tensors, purge=80)


def test_named_windows_are_taken_by_their_days(make_market, tmp_path):
    tensors = load_tensors(make_market(sessions=90), tmp_path, score=sentiment)
    days = [str(np.datetime64(int(ts), "ns").astype("datetime64[D]")) for ts in tensors.ts]
    train, validation = split(tensors, (days[5], days[49]), (days[60], days[79]), purge=5)
    assert (train, validation) == (slice(5, 50), slice(60, 80))
    with pytest.raises(ConfigError, match="training before validation"):
        split(tensors, (days[5], days[70]), (days[60], days[79]))
