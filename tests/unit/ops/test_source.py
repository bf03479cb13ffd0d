"""The span of a run in words: which sessions, who chose them, and what warms the features up."""

import numpy as np
import pytest

from backtest.market.sessions import DAY_NS
from config.settings import load_settings
from ops.composition.run_market import Chosen, chosen_by, span_note

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
