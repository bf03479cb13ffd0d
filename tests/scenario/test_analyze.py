"""One instrument on the newest stored data: from the command line and from Python."""

from __future__ import annotations

import json

import numpy as np
import pytest

from agents.messages import Abstention, Opinion
from backtest.sources import open_source
from config.settings import load_settings
from ops.api import Coordinator, NewsJunior


def test_analyze_answers_on_the_newest_session_of_the_data(command, workplace):
    market = open_source(str(workplace / "source"))
    newest = market.session_closes[-1]
    ended = command("analyze", "AAPL", "--source", "source", "--json", cwd=workplace)
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert said["as_of"] == newest
    assert said["symbol"] == "AAPL"
    asked = {o["junior"] for o in said["opinions"]} | {a["junior"] for a in said["abstentions"]}
    assert asked == {"news", "technical", "fundamental"}
    assert said["allowed_weight"] <= max(0.10, 1.5 / len(market.instruments))
    assert said["recommendation"] in ("BUY", "HOLD", "SELL")
    assert said["strategist"] in ("BUY", "HOLD", "SELL", "ABSTAIN")
    assert bool(said["overruled"]) == (said["strategist"] != said["recommendation"])


@pytest.mark.parametrize(("drift", "said"), [(-0.004, "SELL"), (0.001, "HOLD"), (0.004, "BUY")])
def test_word_and_order_agree_or_the_line_says_who_overruled_whom(
    command, tiny_market, tmp_path, drift, said
):
    market = tiny_market(260)
    (symbol, bars), *_ = market.bars.items()
    trend = np.exp(np.cumsum(np.where(np.arange(260) < 180, 0.0, drift)))
    for column in ("Open", "High", "Low", "Close"):
        bars[column] = (bars[column] * trend).round(2)
    bars.to_csv(tmp_path / "bars.csv", index=False)
    words = ("analyze", symbol, "--source", "bars.csv")
    found = json.loads(command(*words, "--json", cwd=tmp_path).out)
    assert found["strategist"] == said
    change = found["allowed_weight"] - found["held_weight"]
    assert found["recommendation"] == ("BUY" if change > 0 else "SELL" if change < 0 else "HOLD")
    first, second, *_ = command(*words, cwd=tmp_path).out.splitlines()
    assert first.startswith(f"{symbol}: {found['recommendation']} ")
    assert second.startswith(f"the strategist says {said}")
    assert (", because " in second) == (said != found["recommendation"])


def test_an_import_that_is_newer_than_the_packaged_data_is_looked_at_first(command, workplace):
    command("data", "import", "source", "--name", "mine", cwd=workplace)
    said = json.loads(command("analyze", "IBM", "--json", cwd=workplace).out)
    assert said["source"] == "mine"
    said = json.loads(command("analyze", "AAPL", "--json", cwd=workplace).out)
    assert said["source"] == "packaged:apple"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("NOPE",), "expected a symbol of the stored data"),
        (("AAPL", "--source", "nowhere"), "expected a source"),
        (("AAPL", "--minds", "oracle"), "minds.kind: expected"),
        (("AAPL", "--lookback-days", "0"), "--help"),
    ],
)
def test_bad_input_is_refused_in_one_line(command, workplace, words, expected):
    ended = command("analyze", *words, cwd=workplace)
    assert (ended.code, ended.out) == (2, "")
    assert expected in ended.err
    assert len(ended.err.splitlines()) == 1


def test_python_gives_what_the_command_prints(command, workplace):
    said = json.loads(
        command("analyze", "MSFT", "--source", "source", "--json", cwd=workplace).out
    )
    analysis = Coordinator(load_settings(), source=str(workplace / "source")).analyze("MSFT")
    assert analysis.conviction == said["conviction"]
    assert [o.opinion_id for o in analysis.opinions] == [o["opinion_id"] for o in said["opinions"]]


def test_the_news_junior_reads_only_the_days_that_it_is_given(workplace):
    junior = NewsJunior(source=str(workplace / "source"))
    week = junior.analyze("AAPL", lookback_days=7)
    month = junior.analyze("AAPL", lookback_days=30)
    assert isinstance(week, Opinion)
    assert isinstance(month, Opinion)
    assert len(week.evidence) < len(month.evidence)


def test_without_news_the_news_junior_abstains():
    assert isinstance(NewsJunior(source="packaged:apple").analyze("AAPL"), Abstention)
