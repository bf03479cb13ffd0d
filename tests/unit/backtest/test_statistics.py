import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from backtest.results import ClosedTrade
from backtest.statistics import measures, tallies
from backtest.statistics.bootstrap import block_length, resampled, stationary_positions
from backtest.statistics.measures import Undefined
from backtest.statistics.summary import summarise
from config.errors import DataError

_spec = importlib.util.spec_from_file_location(
    "synthetic_run", Path(__file__).with_name("synthetic_run.py")
)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
synthetic_run = _module.synthetic_run


def series(seed=0, n=400, mean=0.0005, sigma=0.01):
    return np.random.default_rng(seed).normal(mean, sigma, size=n)


def ar1(rng, n, rho, mean=0.0, burn=200):
    shocks = rng.normal(size=n + burn)
    x = np.zeros(n + burn)
    for t in range(1, n + burn):
        x[t] = rho * x[t - 1] + shocks[t]
    return mean + x[burn:]


def constant(result, growth=0.0):
    """Return the run with a hierarchy that earns the same in each session and never trades."""
    n = len(result.book.ts)
    still = replace(
        result.book,
        equity=100_000.0 * (1.0 + growth) ** np.arange(n),
        gross=np.zeros(n),
        turnover=np.zeros(n),
        costs=np.zeros(n),
        var_frac=np.full(n, np.nan),
        trades=(),
    )
    return replace(result, book=still)


# --- measures ----------------------------------------------------------------------------------


def test_ratios_equal_a_case_worked_by_hand():
    excess = np.array([0.02, -0.01, 0.03, 0.0])
    # mean 0.01; squared deviations 1, 4, 4, 1 (e-4), over 3
    sigma = math.sqrt(10e-4 / 3)
    assert measures.sharpe(excess) == pytest.approx(0.01 / sigma)
    assert measures.sortino(excess) == pytest.approx(0.01 / 0.005 * math.sqrt(252))
    equity = np.array([100.0, 110.0, 99.0, 104.5, 110.0, 121.0, 120.0])
    assert measures.drawdowns(equity).max() == pytest.approx(0.1)
    assert measures.drawdown_sessions(equity) == (2, False)
    assert measures.annual_return(0.21, 504) == pytest.approx(0.1)
    assert measures.calmar(0.1, 0.2) == pytest.approx(0.5)
    profits = np.array([30.0, -10.0, 0.0, 10.0])
    assert measures.win_rate(profits) == 0.5
    assert measures.profit_factor(profits) == 4.0


def test_a_drawdown_that_lasts_to_the_end_says_so():
    assert measures.drawdown_sessions(np.array([1.0, 2.0, 1.5, 1.6])) == (2, True)
    assert measures.drawdown_sessions(np.array([1.0, 2.0, 3.0])) == (0, False)


def test_measures_agree_with_skfolio():
    import skfolio.measures as reference

    for seed in range(5):
        x = series(seed) * np.where(np.arange(400) % 50 == 0, -4.0, 1.0)
        sigma = float(reference.standard_deviation(x))
        assert measures.sharpe(x) == pytest.approx(float(x.mean()) / sigma, rel=1e-12)
        downside = reference.semi_deviation(x, min_acceptable_return=0.0, biased=True)
        expected = float(x.mean() / downside) * math.sqrt(252)
        assert measures.sortino(x) == pytest.approx(expected, rel=1e-12)
        equity = np.cumprod(np.concatenate([[1.0], 1.0 + x]))
        fall = reference.max_drawdown(reference.get_drawdowns(x, compounded=True))
        assert measures.drawdowns(equity).max() == pytest.approx(float(fall), rel=1e-9)
        for benchmark in (0.0, 0.03):
            assert measures.probabilistic_sharpe(x, benchmark) == pytest.approx(
                reference.probabilistic_sharpe_ratio(x, benchmark), rel=2e-2
            )


def test_probabilistic_sharpe_agrees_with_moments_of_scipy():
    for seed in range(5):
        x = np.exp(series(seed, sigma=0.4)) - 1.1
        ratio = x.mean() / x.std(ddof=1)
        kurtosis = stats.kurtosis(x, fisher=False)
        error = math.sqrt((1 - stats.skew(x) * ratio + (kurtosis - 1) / 4 * ratio**2) / 399)
        assert measures.probabilistic_sharpe(x, 0.02) == pytest.approx(
            stats.norm.cdf((ratio - 0.02) / error), rel=1e-12
        )


def test_expected_best_of_trials_agrees_with_skfolio_and_with_drawing_them():
    import skfolio.measures as reference

    trials = [0.01, -0.02, 0.05, 0.03, 0.0]
    spread = float(np.std(trials, ddof=1))
    expected = reference.expected_max_sharpe_ratio(5, spread)
    assert measures.expected_max_sharpe(trials) == pytest.approx(expected, rel=1e-12)
    best = np.random.default_rng(1).normal(0.0, spread, size=(200_000, 5)).max(axis=1).mean()
    assert measures.expected_max_sharpe(trials) == pytest.approx(best, rel=0.05)
    assert measures.expected_max_sharpe([0.1]) == 0.0


def test_kupiec_agrees_with_binomial_likelihoods_of_scipy():
    for sessions, breaches in ((250, 0), (250, 3), (250, 9), (1000, 10), (60, 60)):
        seen = stats.binom.logpmf(breaches, sessions, breaches / sessions)
        meant = stats.binom.logpmf(breaches, sessions, 0.01)
        expected = stats.chi2.sf(max(0.0, 2.0 * (seen - meant)), 1)
        assert measures.kupiec(sessions, breaches) == pytest.approx(expected, rel=1e-9)
    assert isinstance(measures.kupiec(0, 0), Undefined)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.05, 20.0))
@settings(max_examples=50, deadline=None)
def test_scaling_returns_changes_no_ratio(seed, scale):
    x = series(seed, n=60)
    assert measures.sharpe(scale * x) == pytest.approx(measures.sharpe(x), rel=1e-9)
    assert measures.sortino(scale * x) == pytest.approx(measures.sortino(x), rel=1e-9)
    assert measures.probabilistic_sharpe(scale * x) == pytest.approx(
        measures.probabilistic_sharpe(x), rel=1e-6
    )


@given(seed=st.integers(0, 10_000), sign=st.sampled_from([-1.0, 1.0]))
@settings(max_examples=30, deadline=None)
def test_reversing_returns_reverses_the_sharpe_ratio_and_not_its_size(seed, sign):
    x = series(seed, n=60)
    assert measures.sharpe(sign * x) == pytest.approx(sign * measures.sharpe(x), rel=1e-9)
    assert measures.sharpe(x[::-1]) == pytest.approx(measures.sharpe(x), rel=1e-9)


def test_more_trials_never_raise_the_deflated_sharpe_ratio():
    x = series(3, n=500)
    spread = [-0.03, 0.03]
    values = [
        measures.probabilistic_sharpe(x, measures.expected_max_sharpe(spread * k))
        for k in (1, 5, 50)
    ]
    assert measures.probabilistic_sharpe(x) > values[0] > values[1] > values[2]


# --- bootstrap ---------------------------------------------------------------------------------


def test_stationary_blocks_have_the_length_asked_and_run_on_round_the_end():
    positions = stationary_positions(300, 10.0, 400, np.random.default_rng(0))
    steps = (positions[:, 1:] - positions[:, :-1]) % 300
    joined = (steps == 1).mean()
    # a new block continues the old one by chance once in 300
    assert joined == pytest.approx(0.9 + 0.1 / 300, abs=0.003)
    assert ((positions >= 0) & (positions < 300)).all()
    counts = np.bincount(positions.ravel(), minlength=300)
    assert stats.chisquare(counts).statistic / 300 < 20.0


def test_block_length_approaches_its_theory_on_autoregressions():
    rng = np.random.default_rng(5)
    for rho in (0.3, 0.6, -0.5):
        n = 20_000
        found = np.median([block_length(ar1(rng, n, rho)) for _ in range(5)])
        # of an AR(1), g / f is 2 rho / (1 - rho^2)
        expected = ((2 * rho / (1 - rho**2)) ** 2 * n) ** (1 / 3)
        assert found == pytest.approx(expected, rel=0.2)


def test_block_length_of_independent_or_constant_returns_is_short():
    assert block_length(np.zeros(100)) == 1.0
    assert np.median([block_length(series(s, n=1000)) for s in range(11)]) < 4.0


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_block_length_of_a_very_short_series_stays_between_one_and_its_length(n):
    assert 1.0 <= block_length(series(2, n=n)) <= n


def test_intervals_depend_on_the_seed_alone():
    x = series(1)
    assert measures.sharpe_interval(x, seed=4) == measures.sharpe_interval(x, seed=4)
    assert measures.sharpe_interval(x, seed=4) != measures.sharpe_interval(x, seed=5)


def test_bootstrap_of_independent_returns_has_the_standard_error_of_theory():
    x = series(8, n=1000)
    values = resampled(1000, lambda p: measures.row_sharpe(x[p]), mean_block=1.0, seed=0)
    assert len(values) == 2000
    assert values.std() == pytest.approx(1 / math.sqrt(1000), rel=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_intervals_cover_the_true_sharpe_ratio_of_an_autoregression(rho):
    rng = np.random.default_rng(11)
    truth = 0.06 * math.sqrt(252)
    covered = []
    for k in range(200):
        x = ar1(rng, 1000, rho, mean=0.06 / math.sqrt(1 - rho**2)) * 0.01
        (low, high), _ = measures.sharpe_interval(x, seed=k)
        covered.append(low <= truth <= high)
    print(f"rho {rho}: coverage {np.mean(covered):.3f} of 200")
    assert 0.90 <= np.mean(covered) <= 0.985


# --- a run -------------------------------------------------------------------------------------


def test_a_summary_is_json_and_the_same_twice():
    texts = [
        json.dumps(summarise(synthetic_run(sessions=200), seed=1), allow_nan=False)
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


def test_a_book_that_never_moved_has_reasons_and_no_numbers():
    row = summarise(constant(synthetic_run(sessions=150)), seed=0)["books"][0]
    for name in ("sharpe", "sharpe_interval", "calmar", "win_rate", "profit_factor", "kupiec_p"):
        assert row["figures"][name] is None
        assert row["undefined"][name]
    assert row["figures"]["total_return"] == 0.0
    assert row["undefined"]["win_rate"] == "no trade was closed"


def test_a_book_of_cash_at_the_risk_free_rate_has_no_sharpe_ratio():
    result = synthetic_run(sessions=150)
    cash = constant(result, growth=0.02 / 252)
    cents = replace(cash, book=replace(cash.book, equity=np.round(cash.book.equity, 2)))
    row = summarise(cents, seed=0)["books"][0]
    assert row["undefined"]["sharpe"] == "the returns have no variance"


def test_matched_volatility_gives_the_baseline_the_hierarchys_volatility_and_its_own_ratio():
    result = synthetic_run(sessions=400)
    summary = summarise(result, seed=0)
    rf = result.risk_free[1:]

    def excess(book):
        return book.equity[1:] / book.equity[:-1] - 1.0 - rf

    for book, row in zip(result.baselines, summary["books"][1:], strict=True):
        matched = row["matched_volatility"]["figures"]
        scaled = matched["scale"] * excess(book)
        assert scaled.std() == pytest.approx(excess(result.book).std())
        assert matched["total_return"] == pytest.approx(np.prod(1.0 + rf + scaled) - 1.0)
        assert matched["sharpe"] == pytest.approx(row["figures"]["sharpe"])


def test_a_book_less_itself_differs_by_nothing():
    result = synthetic_run(sessions=200, gated=False)
    twin = replace(result.book, name="twin", gated=False)
    gap = summarise(replace(result, baselines=(twin,)), seed=0)["differences"][0]["figures"]
    assert gap["mean"] == 0.0
    assert gap["mean_interval"] == [0.0, 0.0]
    assert gap["sharpe_interval"] == [0.0, 0.0]


def test_a_steady_edge_over_a_baseline_is_found_beyond_noise():
    result = synthetic_run(sessions=300, gated=False)
    n = len(result.book.ts)
    ahead = replace(
        result.baselines[0], equity=result.baselines[0].equity * 1.0002 ** np.arange(n)
    )
    gap = summarise(replace(result, book=replace(ahead, name="hierarchy")), seed=0)["differences"]
    low, high = gap[0]["figures"]["mean_interval"]
    assert 0.0 < low <= gap[0]["figures"]["mean"] <= high
    assert gap[0]["figures"]["mean"] == pytest.approx(0.0002 * 252, rel=0.02)


def test_only_strategies_that_could_be_picked_count_as_trials():
    result = synthetic_run(sessions=300)
    trials = summarise(result, seed=0)["trials"]
    assert [t["name"] for t in trials["from_this_run"]] == ["hierarchy"] + ["moving_average"] * 2
    more = summarise(result, seed=0, prior_trial_sharpes=(0.05, -0.05))
    assert more["trials"]["counted"] == 5
    assert more["trials"]["from_the_library"] == 2
    alone = summarise(replace(result, baselines=()), seed=0)["books"][0]
    assert alone["figures"]["deflated_sharpe"] is None
    assert "single trial" in alone["undefined"]["deflated_sharpe"]
    assert 0.0 < alone["figures"]["probabilistic_sharpe"] < 1.0


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
    assert tallies.var_breaches(quiet) == (23, 1)
    var[9] = 0.05
    assert tallies.var_breaches(replace(quiet, var_frac=var)) == (23, 0)


def test_a_ruined_book_has_no_ratios_and_does_not_stop_the_summary():
    result = synthetic_run(sessions=120, gated=False)
    equity = result.baselines[0].equity.copy()
    equity[60:] = -5.0
    ruined = replace(result.baselines[0], equity=equity)
    summary = summarise(replace(result, baselines=(ruined,)), seed=0)
    row = summary["books"][1]
    assert row["undefined"]["sharpe"] == "equity fell to zero or below"
    assert row["figures"]["annual_return"] is None
    assert summary["differences"][0]["figures"]["mean"] is None
    json.dumps(summary, allow_nan=False)


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
        risk_free=result.risk_free[:sessions],
    )
    row = summarise(short, seed=0)["books"][0]
    assert row["figures"]["sharpe_interval"] is None
    json.dumps(row, allow_nan=False)


def test_a_book_with_stamps_of_its_own_is_refused():
    result = synthetic_run(sessions=100)
    other = replace(result.baselines[0], ts=result.baselines[0].ts + 1)
    with pytest.raises(DataError, match=r"stamps.*buy_and_hold"):
        summarise(replace(result, baselines=(other,)), seed=0)


def test_equity_that_is_no_number_is_refused():
    result = synthetic_run(sessions=100)
    equity = result.book.equity.copy()
    equity[5] = np.nan
    with pytest.raises(DataError, match="finite equity"):
        summarise(replace(result, book=replace(result.book, equity=equity)), seed=0)


def test_counts_equal_the_records():
    result = synthetic_run(sessions=200)
    counts = summarise(result, seed=0)["counts"]
    assert counts["decisions"] == len(result.decisions)
    assert counts["fills"] == len(result.fills)
    assert sum(counts["routes_by_arm"].values()) == sum(len(d.routes) for d in result.decisions)
    assert sum(counts["abstentions_by_junior"].values()) == sum(
        len(d.abstentions) for d in result.decisions
    )
    assert sum(counts["cuts_by_limit"].values()) == sum(
        bool(line.limit) for v in result.verdicts for line in v.lines
    )


def test_only_losing_trades_leave_a_profit_factor_of_zero_and_only_winning_ones_none():
    result = synthetic_run(sessions=100, gated=False)

    def factor(profit):
        trades = (ClosedTrade(symbol="A", ts_open=0, ts_close=1, profit=profit),)
        summary = summarise(replace(result, book=replace(result.book, trades=trades)), seed=0)
        return summary["books"][0]["figures"]["profit_factor"]

    assert factor(-5.0) == 0.0
    assert factor(5.0) is None
