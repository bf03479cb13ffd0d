"""Reference books are lived in the twin: each must be the one that the engine would have had."""

import msgspec
import numpy as np
import pytest

from agents.baselines import BASELINES
from agents.messages import Decision
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.references import Reference, baselines, gate_limits, variants
from config.settings import DeskSettings, LimitSettings, Settings
from learning.twin.reference_books import run_references
from learning.twin.reference_process import Aside
from tests.scripted_mind import Wants

START = 70
LIMITS = LimitSettings(max_position=0.4, max_group=1.0, max_var=0.03, stop="volatility")


@pytest.fixture
def market(make_market):
    actions = [("AAA", 80, 2.0, 0.0), ("BBB", 90, 1.0, 0.4), ("CCC", 100, 0.05, 0.0)]
    return make_market(sessions=170, seed=5, news_every=0, actions=actions)


def in_engine(market, settings, mind, limits):
    spec = BookSpec(mind.name, market, settings, market.session_closes[START], gate=limits)
    return run_book(spec, mind)


def assert_same(twin, engine):
    np.testing.assert_array_equal(twin.ts, engine.ts)
    np.testing.assert_allclose(twin.equity, engine.equity, atol=0.005)
    np.testing.assert_allclose(twin.gross, engine.gross, atol=1e-9)
    np.testing.assert_allclose(twin.turnover, engine.turnover, atol=1e-9)
    np.testing.assert_allclose(twin.costs, engine.costs, atol=1e-9)
    np.testing.assert_allclose(twin.var_frac, engine.var_frac, atol=1e-9)
    assert [(t.symbol, t.ts_open, t.ts_close, t.exit) for t in twin.trades] == [
        (t.symbol, t.ts_open, t.ts_close, t.exit) for t in engine.trades
    ]
    np.testing.assert_allclose(
        [t.profit for t in twin.trades], [t.profit for t in engine.trades], atol=0.02
    )


@pytest.mark.parametrize("every", [1, 3])
def test_each_baseline_is_the_engines_under_each_gate(market, every):
    settings = Settings(limits=LIMITS, desk=DeskSettings(decide_every_sessions=every))
    references = baselines(LIMITS)
    books = run_references(market, settings, market.session_closes[START], references)
    traded = 0.0
    for reference, book in zip(references, books, strict=True):
        make = next(m for m in BASELINES if m().name == reference.name)
        assert_same(book, in_engine(market, settings, make(), reference.limits).book)
        traded += float(book.costs.sum())
        assert (book.name, book.gate) == (reference.name, reference.gate)
    assert traded > 0


def test_recorded_decisions_are_the_engines_under_other_gates_and_under_stress(market):
    rng = np.random.default_rng(0)
    rows = [
        dict(zip(market.symbols, rng.uniform(0, 0.4, 4).round(3).tolist(), strict=True))
        for _ in market.session_closes
    ]
    settings = Settings(limits=LIMITS)
    own = in_engine(market, settings, Wants.at(market.session_closes, rows), LIMITS)
    decisions = own.records.of(Decision)
    again = [
        Reference("hierarchy", "full", decisions, LIMITS),
        *variants("hierarchy", decisions, LIMITS),
    ]
    books = run_references(market, settings, market.session_closes[START], again)
    assert_same(books[0], own.book)
    assert any(t.exit == "stop" for t in books[4].trades)
    dear = msgspec.structs.replace(
        settings, market=msgspec.structs.replace(settings.market, cost_frac=0.003)
    )
    for book, rules, limits in (
        (books[1], settings, gate_limits(LIMITS, "no_stop")),
        (books[2], settings, gate_limits(LIMITS, "gross_only")),
        (books[3], dear, LIMITS),
        (books[4], settings, again[4].limits),
    ):
        assert_same(
            book, in_engine(market, rules, Wants.at(market.session_closes, rows), limits).book
        )


def test_a_process_of_its_own_makes_the_same_books(market):
    settings, start = Settings(limits=LIMITS), market.session_closes[START]
    here = run_references(market, settings, start, baselines(LIMITS))
    with Aside() as aside:
        there = aside.start(market, settings, start, baselines(LIMITS))()
    for one, other in zip(here, there, strict=True):
        assert (one.name, one.gate, one.trades) == (other.name, other.gate, other.trades)
        np.testing.assert_array_equal(one.equity, other.equity)
