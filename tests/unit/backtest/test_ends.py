"""Where a run and a source end."""

from dataclasses import replace

import pandas as pd
import pytest

from backtest.check import check_source
from backtest.market.sessions import DAY_NS, parse_day
from backtest.plan import plan_run
from backtest.sources import open_source
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


@pytest.mark.parametrize(("periods", "start"), [(2, None), (9, "2015-01-15")])
def test_a_check_says_that_no_session_is_left_to_trade_in(tmp_path, periods, start):
    days = pd.bdate_range("2015-01-05", periods=periods).strftime("%Y-%m-%d")
    rows = [f"{day},AAA,10,11,9,10,1000" for day in days]
    text = "\n".join(["date,symbol,open,high,low,close,volume", *rows])
    (tmp_path / "bars.csv").write_text(text + "\n")
    settings = Settings()
    market = open_source(str(tmp_path), start=start)
    start_ns = None if start is None else parse_day(start, "start") * DAY_NS
    with pytest.raises(DataError) as caught:
        plan_run(market, settings, build_mind(settings), "fresh", start_ns)
    assert check_source(str(tmp_path), start=start).problems == (str(caught.value),)
