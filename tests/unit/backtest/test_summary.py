"""What a run's books add up to, and how results.json holds it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from backtest.results import Calls, ClosedTrade, RoleCalls
from backtest.statistics import tallies
from backtest.statistics.mask_comparison import compare_masking
from backtest.statistics.measures import Undefined
from backtest.statistics.sharpe import sharpe
from backtest.statistics.summary import results_json, summarise, trial_of
from backtest.statistics.trials import Trial
from config.errors import DataError
from tests.unit.backtest.synthetic_run import synthetic_run

KEPT = Path(__file__).parent / "results_keys.txt"  # the keys of results.json, a path a line


def constant(result, growth=0.0, gross=0.0):
    """Return the run with a hierarchy that earns the same in each session and never trades."""
    n = len(result.book.ts)
    still = replace(
        result.book,
        equity=100_000.0 * (1.0 + growth) ** np.arange(n),
        gross=np.full(n, gross),
        turnover=np.zeros(n),
        costs=np.zeros(n),
        var_frac=np.full(n, np.nan),
        trades=(),
    )
    return replace(result, book=still)


def figures_of(result):
    return summarise(result, seed=0).books[0].figures


def test_a_summary_is_json_and_the_same_twice():
    texts = [
        json.dumps(results_json(summarise(synthetic_run(sessions=200), seed=1)), allow_nan=False)
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


def key_paths(value, at=""):
    """Yield the path of every key, in order, those of a list's members once."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield f"{at}/{key}"
            yield from key_paths(member, f"{at}/{key}")
    elif isinstance(value, list):
        for member in value:
            yield from key_paths(member, f"{at}[]")


def test_results_json_keeps_its_keys_and_their_order():
    result = synthetic_run(sessions=120)
    calls = {
        "rounds": 2,
        "max_rounds_of_decision": 2,
        "roles": {
            "news": {
                **dict.fromkeys(RoleCalls.__struct_fields__, 1),
                "failures": {"timeout": 1},
            }
        },
    }
    asked = replace(result, calls=msgspec.convert(calls, Calls, strict=False))
    summary = msgspec.structs.replace(
        summarise(asked, seed=1), masking=compare_masking(result, result, 1)
    )
    found = dict.fromkeys(key_paths(results_json(summary)))
    assert list(found) == KEPT.read_text(encoding="utf-8").split("\n")[:-1]


def test_results_json_has_null_and_a_reason_where_a_figure_is_undefined():
    idle = results_json(summarise(constant(synthetic_run(sessions=60)), seed=0))
    own = idle["books"][0]
    assert own["figures"]["sharpe"] is None
    assert own["undefined"]["sharpe"] == "never invested"
    assert list(own["figures"])[:2] == ["total_return", "annual_return"]
    assert idle["language_models"] == {}
    assert "masking" not in idle


def test_a_book_that_was_never_invested_has_no_ratio_and_says_so():
    result = replace(synthetic_run(sessions=150), no_orders="no order: 52 sessions, 60 needed")
    summary = summarise(constant(result, growth=0.0001), seed=0)
    row = summary.books[0]
    ratios = ("sharpe", "sharpe_interval", "sortino", "probabilistic_sharpe", "deflated_sharpe")
    for name in ratios:
        assert getattr(row.figures, name) == Undefined("never invested")
    for name in ("trade_win_rate", "trade_profit_factor", "stop_exit_share", "kupiec_p"):
        assert isinstance(getattr(row.figures, name), Undefined)
    assert row.figures.trade_win_rate == Undefined("no trade was closed")
    assert row.figures.loss_within_limit == Undefined("no session was invested")
    assert row.figures.total_return > 0.0
    for baseline in summary.books[-6:]:
        assert baseline.matched_volatility.sharpe == Undefined("never invested")
    assert summary.differences[0].figures.sharpe == Undefined("never invested")
    assert isinstance(summary.differences[0].figures.mean, float)
    assert summary.notes[0] == summary.no_orders == "no order: 52 sessions, 60 needed"
    assert trial_of(constant(result)) is None
    assert "hierarchy (full)" not in [t.name for t in summary.trials.from_this_run]


def test_a_book_of_cash_at_the_risk_free_rate_has_no_sharpe_ratio():
    result = synthetic_run(sessions=150)
    cash = constant(result, growth=0.02 / 252, gross=0.1)
    cents = replace(cash, book=replace(cash.book, equity=np.round(cash.book.equity, 2)))
    row = summarise(cents, seed=0).books[0]
    assert row.figures.sharpe == Undefined("the returns have no variance")


def test_matched_volatility_gives_the_baseline_the_hierarchys_volatility_and_its_own_ratio():
    result = synthetic_run(sessions=400)
    summary = summarise(result, seed=0)
    rf = result.risk_free[1:]

    def excess(book):
        return book.equity[1:] / book.equity[:-1] - 1.0 - rf

    for book, row in zip(result.baselines, summary.books[5:], strict=True):
        matched = row.matched_volatility
        scaled = matched.scale * excess(book)
        assert scaled.std() == pytest.approx(excess(result.book).std())
        assert matched.total_return == pytest.approx(np.prod(1.0 + rf + scaled) - 1.0)
        assert matched.sharpe == pytest.approx(row.figures.sharpe)


def test_a_book_less_itself_differs_by_nothing():
    result = synthetic_run(sessions=200, gated=False)
    twin = replace(result.book, name="twin", gate="gross_only")
    gap = summarise(replace(result, baselines=(twin,)), seed=0).differences[0].figures
    assert gap.mean == 0.0
    assert gap.mean_interval == (0.0, 0.0)
    assert gap.sharpe_interval == pytest.approx([0.0, 0.0], abs=1e-9)


def test_a_steady_edge_over_a_baseline_is_found_beyond_noise():
    result = synthetic_run(sessions=300, gated=False)
    n = len(result.book.ts)
    ahead = replace(
        result.baselines[0], equity=result.baselines[0].equity * 1.0002 ** np.arange(n)
    )
    gap = summarise(replace(result, book=replace(ahead, name="hierarchy")), seed=0).differences
    low, high = gap[0].figures.mean_interval
    assert 0.0 < low <= gap[0].figures.mean <= high
    assert gap[0].figures.mean == pytest.approx(0.0002 * 252, rel=0.02)


def test_only_strategies_that_could_be_picked_count_as_trials():
    result = synthetic_run(sessions=300)
    trials = summarise(result, seed=0).trials
    assert [t.name for t in trials.from_this_run] == [
        "hierarchy (full)",
        "hierarchy (no_stop)",
        "hierarchy (gross_only)",
        "moving-average (gross_only)",
        "moving-average (no_stop)",
    ]
    ts = result.book.ts[1:]
    rng = np.random.default_rng(0)
    earlier = [Trial("old", sharpe(x), ts, x) for x in rng.normal(0.0, 0.01, (2, len(ts)))]
    more = summarise(result, seed=0, earlier_trials=earlier)
    assert more.trials.counted == 7
    assert more.trials.effective == trials.effective + 2
    assert more.trials.from_the_library == 2
    assert more.books[0].figures.deflated_sharpe < (
        summarise(result, seed=0).books[0].figures.deflated_sharpe
    )
    alone = summarise(replace(result, baselines=(), variants=()), seed=0).books[0]
    assert "single effective trial" in alone.figures.deflated_sharpe.reason
    assert 0.0 < alone.figures.probabilistic_sharpe < 1.0


def test_the_same_run_again_is_no_further_kind_of_trial():
    result = synthetic_run(sessions=300)
    once = summarise(result, seed=0)
    again = summarise(result, seed=0, earlier_trials=[trial_of(result)] * 5)
    assert again.trials.effective == once.trials.effective
    for a, b in zip(once.books, again.books, strict=True):
        assert a.figures.deflated_sharpe == b.figures.deflated_sharpe


def test_var_is_compared_with_the_return_of_the_session_after_it():
    result = synthetic_run(sessions=30, gated=False)
    n = 30
    equity = np.full(n, 100.0)
    equity[10:] = 97.0  # session 10 loses 3%
    var = np.full(n, 0.01)
    var[:5] = np.nan
    var[20] = 0.0
    quiet = replace(result.book, equity=equity, var_frac=var)
    # 29 returns, less five without a VaR and one without a holding
    found = tallies.breaches(quiet)
    assert (found.sessions, found.count) == (23, 1)
    assert np.flatnonzero(~found.follows).tolist() == [0, 15]  # the first, and after the gap
    var[9] = 0.05
    assert tallies.breaches(replace(quiet, var_frac=var)).count == 0


def test_a_ruined_book_has_no_ratios_and_does_not_stop_the_summary():
    result = synthetic_run(sessions=120, gated=False)
    equity = result.baselines[0].equity.copy()
    equity[60:] = -5.0
    ruined = replace(result.baselines[0], equity=equity)
    summary = summarise(replace(result, baselines=(ruined,)), seed=0)
    row = summary.books[1]
    for figure in (
        row.figures.sharpe,
        row.figures.annual_return,
        summary.differences[0].figures.mean,
    ):
        assert figure == Undefined("equity fell to zero or below")
    json.dumps(results_json(summary), allow_nan=False)


@pytest.mark.parametrize("sessions", [1, 2, 5])
def test_a_run_of_almost_no_sessions_is_summarised(sessions):
    result = synthetic_run(sessions=90)

    def cut(book):
        return replace(
            book,
            **{
                k: getattr(book, k)[:sessions]
                for k in ("ts", "equity", "gross", "turnover", "costs", "var_frac")
            },
            exposures={g: v[:sessions] for g, v in book.exposures.items()},
        )

    short = replace(
        result,
        book=cut(result.book),
        baselines=tuple(map(cut, result.baselines)),
        variants=tuple(map(cut, result.variants)),
        risk_free=result.risk_free[:sessions],
    )
    summary = summarise(short, seed=0)
    assert isinstance(summary.books[0].figures.sharpe_interval, Undefined)
    json.dumps(results_json(summary), allow_nan=False)


def test_a_book_with_stamps_of_its_own_is_refused():
    result = synthetic_run(sessions=100)
    other = replace(result.baselines[0], ts=result.baselines[0].ts + 1)
    with pytest.raises(DataError, match=r"stamps.*buy-and-hold"):
        summarise(replace(result, baselines=(other,)), seed=0)


def test_equity_that_is_no_number_is_refused():
    result = synthetic_run(sessions=100)
    equity = result.book.equity.copy()
    equity[5] = np.nan
    with pytest.raises(DataError, match="finite equity"):
        summarise(replace(result, book=replace(result.book, equity=equity)), seed=0)


def test_counts_equal_the_records():
    result = synthetic_run(sessions=200)
    counts = summarise(result, seed=0).counts
    assert counts.decisions == len(result.decisions)
    assert counts.fills == len(result.fills)
    assert sum(counts.routes_by_arm.values()) == sum(len(d.routes) for d in result.decisions)
    assert sum(counts.abstentions_by_junior.values()) == sum(
        len(d.abstentions) for d in result.decisions
    )
    assert sum(counts.cuts_by_limit.values()) == sum(
        bool(line.limit) for v in result.verdicts for line in v.lines
    )


def test_round_trips_and_months_are_named_apart():
    result = synthetic_run(sessions=148, gated=False)

    def figures(*trades, monthly=(0.05, -0.02, 0.05, -0.02, 0.05, -0.02, 0.05)):
        steps = np.repeat((1.0 + np.array(monthly)) ** (1 / 21), 21)
        equity = 100_000.0 * np.cumprod(np.concatenate([[1.0], steps]))
        closed = tuple(ClosedTrade("A", 0, 1, profit, why) for profit, why in trades)
        return figures_of(replace(result, book=replace(result.book, equity=equity, trades=closed)))

    found = figures((-5.0, "stop"), (-1.0, "stop"), (-2.0, "delisted"), (2.0, "decision"))
    assert (found.closed_trades, found.months) == (4, 7)
    assert found.trade_win_rate == 0.25
    assert found.trade_profit_factor == 0.25
    assert found.stop_exit_share == 0.5
    assert found.month_win_rate == pytest.approx(4 / 7)
    assert found.month_profit_factor == pytest.approx(0.2 / 0.06)
    only = figures((-5.0, "stop"), monthly=(0.01,) * 7)
    assert (only.trade_profit_factor, only.month_profit_factor) == (
        0.0,
        Undefined("none of them lost"),
    )


def test_a_year_of_a_market_that_never_closes_has_365_sessions():
    """The case of the issue: +98% in 365 sessions was shown as +60% a year."""
    result = synthetic_run(sessions=366, gated=False)
    rng = np.random.default_rng(0)
    luck = np.concatenate([[0.0], rng.normal(0.0, 0.01, 365).cumsum()])
    path = luck - np.linspace(0.0, luck[-1], 366)
    equity = 100_000.0 * np.exp(path + math.log(1.98) * np.arange(366) / 365)
    crypto = replace(
        result, book=replace(result.book, equity=equity), baselines=(), sessions_per_year=365
    )
    found, exchange = figures_of(crypto), figures_of(replace(crypto, sessions_per_year=252))
    assert found.annual_return == pytest.approx(0.98)
    assert exchange.annual_return == pytest.approx(0.60, abs=0.005)
    scale = math.sqrt(365 / 252)
    for name in ("volatility", "sharpe", "sortino"):
        assert getattr(found, name) == pytest.approx(scale * getattr(exchange, name))
    assert found.sharpe_interval == pytest.approx(
        [scale * bound for bound in exchange.sharpe_interval]
    )
    assert found.turnover == pytest.approx(365 / 252 * exchange.turnover)


def test_the_three_figures_of_the_var_are_told_apart():
    result = synthetic_run(sessions=101, gated=False)
    returns, var = np.full(100, 0.0001), np.full(101, 0.01)
    returns[[20, 21]] = -0.015  # beyond that day's VaR, within the limit of 2%
    returns[50] = -0.025  # beyond the limit, within that day's VaR
    var[49] = 0.03
    gross = np.full(101, 0.5)
    gross[80:] = 0.0
    var[80:] = 0.0
    equity = 100_000.0 * np.cumprod(np.concatenate([[1.0], 1.0 + returns]))
    book = replace(result.book, equity=equity, var_frac=var, gross=gross)
    # returns[t] is of session t + 1, held at close t
    var[50], var[49] = 0.03, 0.01
    found = figures_of(replace(result, book=book))
    assert found.var_within_limit == pytest.approx(79 / 80)
    assert (found.var_sessions, found.var_breaches) == (80, 2)
    assert found.var_coverage == pytest.approx(78 / 80)
    assert found.loss_within_limit == pytest.approx(79 / 80)
    assert found.christoffersen_independence_p < 0.05


def test_what_the_gate_costs_and_the_minds_add_are_paired_differences():
    result = synthetic_run(sessions=400)
    summary = summarise(result, seed=0)
    rf = result.risk_free[1:]

    def excess(book):
        return book.equity[1:] / book.equity[:-1] - 1.0 - rf

    assert [row.gate for row in summary.gate_costs] == ["no_stop", "gross_only"]
    for row, variant in zip(summary.gate_costs, result.variants, strict=False):
        gap = excess(variant) - excess(result.book)
        assert row.figures.mean == pytest.approx(252 * gap.mean())
        low, high = row.figures.mean_interval
        assert low < row.figures.mean < high
    free, gated = summary.minds_add
    holding = {b.gate: b for b in result.baselines if b.name == "buy-and-hold"}
    wanted = 252 * (excess(result.variants[1]) - excess(holding["gross_only"])).mean()
    assert free.figures.mean == pytest.approx(wanted)
    wanted = 252 * (excess(result.book) - excess(holding["no_stop"])).mean()
    assert gated.figures.mean == pytest.approx(wanted)
    bare = summarise(replace(result, variants=(), baselines=()), seed=0)
    assert bare.gate_costs == bare.minds_add == ()


def test_books_are_told_apart_by_name_gate_and_stress():
    rows = summarise(synthetic_run(sessions=100), seed=0).books
    keys = [(row.name, row.gate, row.stress) for row in rows]
    assert keys[:5] == [
        ("hierarchy", "full", ""),
        ("hierarchy", "no_stop", ""),
        ("hierarchy", "gross_only", ""),
        ("hierarchy", "full", "0.3% a fill"),
        ("hierarchy", "full", "2% stop"),
    ]
    assert len(set(keys)) == len(keys) == 11
