"""Masked against unmasked: what is measured, and what is said of it."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from backtest.report.masking import masking_view, verdict
from backtest.statistics.mask_comparison import compare_masking
from backtest.statistics.measures import Undefined
from config.errors import DataError
from tests.unit.backtest.synthetic_run import synthetic_run

SEED = 3


def with_returns(run, extra):
    """Return the run with `extra` (T-1,) added to its sessions' returns."""
    equity = run.book.equity
    returns = equity[1:] / equity[:-1] - 1.0 + extra
    moved = equity[0] * np.cumprod(np.concatenate([[1.0], 1.0 + returns]))
    return replace(run, book=replace(run.book, equity=moved))


@pytest.fixture(scope="module")
def run():
    return synthetic_run()


def test_a_run_against_itself_differs_in_nothing(run):
    found = compare_masking(run, run, SEED)

    assert found.figures.mean == 0.0
    assert found.figures.mean_interval == (0.0, 0.0)
    assert found.counts.decisions_compared == len(run.decisions)
    assert found.counts.decisions_differ == found.counts.opinion_signs_differ == 0
    assert found.counts.opinions_in_one == 0
    assert "within noise" in verdict(found)


def test_an_edge_that_masking_takes_away_is_found_where_there_is_one(run):
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 1e-4, len(run.book.ts) - 1)

    lost = compare_masking(with_returns(run, noise - 4e-4), run, SEED)
    nothing = compare_masking(with_returns(run, noise - noise.mean()), run, SEED)

    assert lost.figures.mean_interval[1] < 0.0
    assert lost.figures.mean == pytest.approx(-4e-4 * 252, rel=0.1)
    assert lost.figures.sharpe < 0.0
    assert "memory" in verdict(lost)
    low, high = nothing.figures.mean_interval
    assert low < 0.0 < high


def test_the_same_seed_gives_the_same_interval(run):
    other = with_returns(run, 1e-4)

    assert compare_masking(other, run, SEED) == compare_masking(other, run, SEED)


def test_what_differs_inside_is_counted(run):
    first = next(d for d in run.decisions if d.opinions and d.opinions[0].score != 0)
    turned = msgspec.structs.replace(first.opinions[0], score=-first.opinions[0].score)
    book = msgspec.structs.replace(first.allocation, weights={"AAPL": 0.123})
    changed = msgspec.structs.replace(
        first, opinions=(turned, *first.opinions[1:-1]), allocation=book
    )
    decisions = tuple(changed if d is first else d for d in run.decisions)

    counts = compare_masking(replace(run, decisions=decisions), run, SEED).counts

    assert counts.decisions_differ == 1
    assert counts.opinion_signs_differ == 1
    assert counts.opinions_in_one == 1


def test_other_sessions_are_refused(run):
    with pytest.raises(DataError, match="same sessions"):
        compare_masking(run, synthetic_run(sessions=600), SEED)


def test_few_sessions_are_named_as_the_reason(run):
    short = synthetic_run(sessions=12)

    found = compare_masking(short, short, SEED)

    assert isinstance(found.figures.mean_interval, Undefined)
    assert "fewer than" in verdict(found)
    assert masking_view(found).table.rows[0].cells == ("–", "–")


def test_the_section_shows_intervals_and_counts(run):
    view = masking_view(compare_masking(with_returns(run, 1e-4), run, SEED))

    assert [fact.name for fact in view.counts][3] == "opinion signs differ"
    assert all(row.cells[1].startswith("[") for row in view.table.rows)
