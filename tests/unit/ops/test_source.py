"""The market of a run: which instruments and sessions, who chose them, and what warms up."""

import numpy as np
import pytest

from backtest.market.sessions import DAY_NS
from config.errors import DataError
from config.settings import load_settings
from ops.commands.options import symbols_of
from ops.composition.run_market import Chosen, chosen_by, open_market, span_note

FIRST = int(np.datetime64("2024-01-01", "D").astype(np.int64))
CLOSES = [(FIRST + day) * DAY_NS + 20 * 3_600_000_000_000 for day in range(10)]


def test_the_span_is_counted_from_the_first_decision_on():
    note = span_note(CLOSES, CLOSES[4], Chosen("--start", ""))
    assert note == (
        "traded 2024-01-05 to 2024-01-10, 6 sessions: from --start to the end of the source; "
        "4 sessions before warm the features up"
    )


def test_where_nobody_chose_a_start_the_warm_up_did():
    note = span_note(CLOSES, CLOSES[5], Chosen("", "--end"))
    assert "from the end of the warm-up to --end; 5 sessions before" in note


def test_a_walk_forward_run_trades_from_its_first_test():
    note = span_note(CLOSES, CLOSES[5], Chosen("--start", ""), walk_forward=True)
    assert "5 sessions: from the first window's test to the end of the source" in note


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        (
            {},
            {},
            Chosen("the start of profile backtest", "the end of profile backtest"),
        ),
        ({"start": "2011-01-03"}, {}, Chosen("--start", "the end of profile backtest")),
        (
            {},
            {"END": "2011-12-30"},
            Chosen("the start of profile backtest", "QUARTERDECK_DATA__END"),
        ),
        ({"source": "elsewhere"}, {}, Chosen("", "")),
        ({"source": "elsewhere", "end": "2026-01-02"}, {}, Chosen("", "--end")),
    ],
)
def test_who_chose_the_dates_is_told(monkeypatch, flags, environ, expected):
    for name, value in environ.items():
        monkeypatch.setenv(f"QUARTERDECK_DATA__{name}", value)
    settings = load_settings(overrides={f"data.{k}": v for k, v in flags.items()})
    found = chosen_by(settings, flags.get("start"), flags.get("end"), "backtest")
    assert found == expected


def test_symbols_and_a_start_lead_past_a_hole_in_a_book_of_ones_own(tmp_path):
    days = np.arange("2019-01-01", "2019-07-01", dtype="datetime64[D]")
    days = [str(day) for day in days[np.is_busday(days)]]
    lines = [
        f"{day},{symbol},1.2,1.2,1.2,1.2,100"
        for symbol in ("AUDUSD", "EURUSD", "XAUUSD")
        for day in days
        if symbol != "AUDUSD" or not "2019-02-01" <= day <= "2019-03-29"
    ]
    lines.insert(0, "date,symbol,open,high,low,close,volume")
    (tmp_path / "bars.csv").write_text("\n".join(lines))

    def opened(**flags):
        settings = load_settings(overrides={"data.source": f"multi-asset:{tmp_path}", **flags})
        market, _, _ = open_market(settings)
        return market.symbols, len(market.session_closes)

    with pytest.raises(DataError, match=r"absent on 41 of 129: 2019-02-01 to 2019-03-29; go on"):
        opened()
    chosen = symbols_of("EURUSD, XAUUSD,")
    assert opened(**{"data.symbols": chosen}) == (("EURUSD", "XAUUSD"), 129)
    assert opened(**{"data.start": "2019-05-01"}) == (("AUDUSD", "EURUSD", "XAUUSD"), 65)
