"""Files as vendors write them give the bars that were printed, without a line of source.yaml."""

import numpy as np
import pytest

from backtest.market.sessions import load_sessions
from backtest.sources.folder import read_sources
from tests.unit.backtest.vendor_files import FORMS, Form


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.name)
def test_a_vendors_file_gives_the_bars_that_it_prints(form: Form, tmp_path):
    truth = form.truth()
    form.write(tmp_path, truth)
    if form.source:
        (tmp_path / "source.yaml").write_text(form.source)
    market = read_sources([tmp_path])
    bars = market.bars[market.bars["symbol"] == form.symbol]
    assert len(bars) == len(truth.at), market.notes
    at = truth.at.as_unit("ns").asi8
    if truth.daily and market.calendar not in ("24/7", "24x5"):
        sessions = load_sessions(market.calendar, 2023, 2024)
        at = sessions.opens[sessions.find(at // 86_400_000_000_000)]
    np.testing.assert_array_equal(bars["ts_open"].to_numpy(), at)
    for column in ("open", "high", "low", "close"):
        np.testing.assert_allclose(
            bars[column].to_numpy(), getattr(truth, column), atol=0.51 * 10.0**-form.decimals / 100
        )
    if form.volume is not None:
        np.testing.assert_allclose(
            bars["volume"].to_numpy(), truth.volume, rtol=form.volume, atol=0.5
        )
