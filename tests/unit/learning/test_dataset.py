"""A book shows trainers what the desk sees, tells them the truth about it, and is made once."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

import learning.datasets.dataset as books
import learning.datasets.dataset_arrays as module
from agents.features.batch import INSTRUMENT_FEATURES
from agents.features.regime import regime_label
from agents.juniors.lexicon import sentiment
from config.allocator import EpisodeSettings, SplitSettings
from config.errors import ConfigError, DataError
from config.settings import Settings
from config.simulator import REGIMES
from learning.datasets.dataset import (
    Dataset,
    held_out,
    real_dataset,
    simulated_dataset,
    split,
    training_rows,
)
from learning.datasets.markets import SIMULATORS, real_market, simulated_market
from learning.datasets.tensors import compute_tensors
from tests.unit.learning import seen_by_desk
from tests.unit.learning.seen_by_desk import check_desk_sees
from tests.unit.learning.test_markets import PAIRS, hourly

SETTINGS = Settings()
SMALL = msgspec.structs.replace(SIMULATORS["multi-asset"], warm_up=30)
ASKED = {
    "name": "multi-asset",
    "seeds": (3, 4, 5, 6),
    "sessions": 120,
    "settings": SETTINGS,
    "simulator": SMALL,
}
EPISODE = EpisodeSettings(sessions=60, min_sessions=40, warm_up=20)
SPLIT = SplitSettings(train_until="2019-11-30", validation_until="2020-03-15")


def never(*_: object) -> None:
    raise AssertionError("made again")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("books")


@pytest.fixture(scope="module")
def dataset(cache) -> Dataset:
    return simulated_dataset(**ASKED, cache=cache)


def test_a_simulated_book_holds_each_seeds_own_market(dataset):
    assert dataset.ts.shape == (4, 150)
    assert dataset.features.shape == (4, 150, 9, 22)
    assert dataset.macro.shape == (4, 150, 18)
    assert dataset.groups == ("commodity", "forex", "index")
    assert np.bincount(dataset.group).tolist() == [3, 3, 3]
    assert dataset.market_arrays.ts_close.tolist() == dataset.ts.tolist()
    for k, seed in enumerate(dataset.seeds):
        truth = simulated_market("multi-asset", dataset.simulator, seed)
        made = compute_tensors(truth.to_market_data(), score=sentiment)
        np.testing.assert_array_equal(dataset.features[k], made.features.astype(np.float32))
        np.testing.assert_array_equal(dataset.macro[k], made.macro.astype(np.float32))
        np.testing.assert_allclose(dataset.returns[k], made.returns, atol=1e-12)
        np.testing.assert_array_equal(dataset.hidden[k], truth.regime)
    assert not np.array_equal(dataset.features[0], dataset.features[1])


def test_a_book_is_made_once_and_then_opened_read_only(dataset, cache, monkeypatch):
    monkeypatch.setattr(module, "compute_tensors", never)
    monkeypatch.setattr(module, "make_market_arrays", never)
    again = simulated_dataset(**ASKED, cache=cache)
    assert again.digest == dataset.digest
    np.testing.assert_array_equal(again.features, dataset.features)
    np.testing.assert_array_equal(
        again.market_arrays.risk.volatility, dataset.market_arrays.risk.volatility
    )
    assert again.market_arrays.instruments == dataset.market_arrays.instruments
    assert again.market_arrays.rate_sources == dataset.market_arrays.rate_sources
    assert not again.features.flags.writeable


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (3, 4, 5, 7)},
        {"sessions": 121},
        {"settings": Settings(market=msgspec.structs.replace(SETTINGS.market, spread_bps=3.0))},
        {"simulator": msgspec.structs.replace(SMALL, news_strength=0.0)},
    ],
)
def test_another_seed_length_rule_or_strength_is_another_book(dataset, cache, monkeypatch, change):
    class MadeAnewError(Exception):
        pass

    def anew(*_: object) -> None:
        raise MadeAnewError

    monkeypatch.setattr(module, "compute_tensors", lambda *a, **k: anew())
    with pytest.raises(MadeAnewError):
        simulated_dataset(**{**ASKED, **change}, cache=cache)


def test_a_longer_market_leaves_what_was_seen_as_it_was(dataset, cache):
    longer = simulated_dataset(**{**ASKED, "seeds": (3,), "sessions": 160}, cache=cache)
    np.testing.assert_array_equal(longer.features[0, :150], dataset.features[0])
    np.testing.assert_array_equal(longer.macro[0, :150], dataset.macro[0])
    np.testing.assert_array_equal(longer.estimate[0, :150], dataset.estimate[0])


def test_labels_look_around_and_are_unknown_at_the_ends(dataset):
    assert (dataset.label[:, :30] == -1).all()
    assert (dataset.label[:, -30:] == -1).all()
    index = np.cumprod(1.0 + np.nan_to_num(dataset.returns[0]).mean(axis=1))
    names = {-1: "bear", 0: "sideways", 1: "bull"}
    expected = [REGIMES.index(names[x]) for x in regime_label(index).tolist()]
    assert dataset.label[0, 30:-30].tolist() == expected[30:-30]


def test_seeds_must_be_given_each_once():
    for seeds in ((), (1, 1)):
        with pytest.raises(ConfigError, match="expected seeds, each once"):
            simulated_dataset("multi-asset", seeds=seeds, sessions=10, settings=SETTINGS)


def test_markets_of_other_instruments_are_not_stacked(make_market, monkeypatch, tmp_path):
    markets = iter([make_market(sessions=40), make_market(symbols=("AAA", "BBB"), sessions=40)])

    class Simulated:
        regime = np.zeros(40, dtype=np.int64)

        def to_market_data(self):
            return next(markets)

    monkeypatch.setattr(books, "simulated_market", lambda *_: Simulated())
    with pytest.raises(DataError, match="expected markets of one set of instruments, was AAA, BB"):
        simulated_dataset("equity", seeds=(0, 1), sessions=40, settings=SETTINGS, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_market_by_market(tmp_path):
    told: list[tuple[int, int]] = []
    simulated_dataset(
        "multi-asset",
        seeds=(0, 1),
        sessions=5,
        settings=SETTINGS,
        simulator=SMALL,
        progress=lambda *done: told.append(done),
        cache=tmp_path,
    )
    assert told == [(1, 2), (2, 2)]


def test_held_out_seeds_are_other_markets(dataset):
    parts = split(dataset, episode=EPISODE)
    trained, tested = ({w.market for w in part} for part in (parts.train, parts.test))
    assert not trained & tested
    assert {w.start for w in parts.train} == {20}
    assert {w.start for w in parts.test} == {29}  # where the oracles begin
    assert {w.stop for w in parts.train + parts.test} == {149}


def test_a_normaliser_is_given_nothing_from_after_the_training_windows(tmp_path):
    dataset = real_dataset(
        "multi-asset", hourly(weeks=60), SETTINGS, symbols=PAIRS, cache=tmp_path
    )
    parts = split(dataset, SPLIT, EPISODE)
    (window,) = parts.train
    features, macro = training_rows(dataset, parts)
    assert features.shape == (3 * window.sessions, 22)
    assert macro.shape == (window.sessions, 18)
    poisoned = [np.array(a) for a in (dataset.features, dataset.macro)]
    for values in poisoned:
        values[:, : window.start] = values[:, window.stop :] = 1e9
    again = training_rows(replace(dataset, features=poisoned[0], macro=poisoned[1]), parts)
    np.testing.assert_array_equal(again[0], features)
    np.testing.assert_array_equal(again[1], macro)


def test_a_feature_of_price_that_is_never_known_is_named(dataset):
    parts = split(dataset, episode=EPISODE)
    features = np.array(dataset.features)
    features[:, :, 2, INSTRUMENT_FEATURES.index("rsi_14")] = np.nan
    with pytest.raises(DataError, match=r"expected rsi_14 of SIM002 to be known in the training"):
        training_rows(replace(dataset, features=features), parts)
    macro = np.full_like(dataset.macro, np.nan)
    with pytest.raises(DataError, match=r"expected index_return_1 to be known in the training"):
        training_rows(replace(dataset, macro=macro), parts)


def test_what_a_source_has_none_of_is_masked_and_noted(tmp_path):
    dataset = real_dataset(
        "multi-asset", hourly(weeks=10), SETTINGS, symbols=PAIRS, cache=tmp_path
    )
    assert "masked throughout, for the source has none: " in dataset.notes[-1]
    assert "sentiment" in dataset.notes[-1]
    assert "rsi_14" not in dataset.notes[-1]
    assert dataset.source == "made"
    assert (dataset.hidden == -1).all()


def test_a_price_that_is_no_number_is_refused_with_its_instrument(tmp_path):
    market = hourly(weeks=10)
    bars = market.bars.copy()
    bars.loc[bars["symbol"] == "GBPUSD", "close"] = np.nan
    with pytest.raises(DataError, match=r"expected finite prices for GBPUSD at 2019-04-14T22:00"):
        real_dataset(
            "multi-asset", replace(market, bars=bars), SETTINGS, symbols=PAIRS, cache=tmp_path
        )


def test_a_hold_out_starts_after_its_day_and_has_room_for_an_episode(tmp_path):
    dataset = real_dataset(
        "multi-asset", hourly(weeks=40), SETTINGS, symbols=PAIRS, cache=tmp_path
    )
    (whole,) = held_out(dataset, EPISODE)
    assert (whole.start, whole.stop) == (20, 199)
    (late,) = held_out(dataset, EPISODE, after="2019-08-02")
    assert (late.start, late.stop) == (80, 199)
    with pytest.raises(DataError, match="windows of at least 40 sessions"):
        held_out(dataset, EPISODE, after="2020-01-01")


def test_the_desk_decides_on_exactly_what_the_book_holds(tmp_path):
    market = real_market("multi-asset", hourly(weeks=16), PAIRS)
    desk = seen_by_desk.SETTINGS
    dataset = real_dataset("multi-asset", hourly(weeks=16), desk, symbols=PAIRS, cache=tmp_path)
    check_desk_sees(
        market,
        60,
        ts=dataset.ts[0],
        features=dataset.features[0],
        macro=dataset.macro[0],
        cases=20,
    )
