"""Where a run and a source end."""

from dataclasses import replace

import pytest

from backtest.plan import plan_run
from backtest.sources.opening import cut
from config.errors import DataError
from config.settings import Settings
from ops.composition.model_minds import build_mind
from tests.conftest import session


def test_a_run_without_a_session_to_trade_in_is_refused(make_market):
    market, settings = make_market(sessions=30), Settings()
    plan_run(market, settings, build_mind(settings), "fresh", session(28)[0])
    with pytest.raises(DataError, match="expected a session to trade in after 2019-05-13"):
        plan_run(market, settings, build_mind(settings), "fresh", session(29)[0])


def test_a_source_cut_to_symbols_ends_with_the_session_of_their_last_bar(make_market):
    market = make_market(sessions=30)
    gone = (market.bars["symbol"] == "AAA") & (market.bars["ts_close"] > session(19)[1])
    market = replace(market, bars=market.bars[~gone])
    assert cut(market, None, None, ("AAA",)).session_closes[-1] == session(19)[1]
    assert cut(market, None, None, ("AAA", "BBB")).session_closes[-1] == session(29)[1]
