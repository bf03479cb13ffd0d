from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import msgspec
import numpy as np
import pytest

from backtest.market.market_data import MarketData
from backtest.simulator import simulate
from config.settings import Settings
from config.simulator import SimulatorSettings
from learning.datasets.crises import amplified, crisis_simulator, with_crises
from learning.datasets.dataset import Dataset, real_dataset, simulated_dataset
from learning.datasets.markets import SIMULATORS
from learning.datasets.windows import Split, Window
from tests.unit.learning.test_markets import PAIRS, SUNDAY, hourly, without

SMALL = SimulatorSettings(instruments=3, sectors=2, sessions=300, warm_up=20)


@pytest.fixture(scope="module")
def with_crisis() -> tuple[Dataset, Dataset]:
    """Return a book of two markets of nine instruments, and the same with one crisis."""
    settings = Settings()
    short = msgspec.structs.replace(SIMULATORS["multi-asset"], warm_up=30)
    dataset = simulated_dataset(
        "multi-asset", seeds=(0, 1), sessions=20, settings=settings, simulator=short
    )
    parts = Split(
        train=(Window(0, 30, 49),), validation=(), test=(), learned_from=0, learned_until=0
    )
    return dataset, with_crises(dataset, parts, settings, count=1)[0]


def closes(market: MarketData, symbol: str) -> np.ndarray:
    return market.bars.loc[market.bars["symbol"] == symbol, "close"].to_numpy()


def test_amplified_market_moves_as_much_more_as_it_is_asked_to(
    make_market: Callable[..., MarketData],
) -> None:
    calm = make_market()
    worse = amplified(calm, 2.0)
    for symbol in calm.symbols:
        own, made = (np.diff(np.log(closes(m, symbol))) for m in (calm, worse))
        np.testing.assert_allclose(made, 2.0 * own, atol=4e-4)  # prices are in cents
    assert worse.news == ()
    assert worse.session_closes == calm.session_closes
    assert "a generated crisis" in worse.notes[-1]


def test_amplified_bars_still_hold_their_open_and_close(
    make_market: Callable[..., MarketData],
) -> None:
    bars = amplified(make_market(), 2.5).bars
    assert bool((bars["high"] >= bars[["open", "close"]].max(axis=1)).all())
    assert bool((bars["low"] <= bars[["open", "close"]].min(axis=1)).all())


def test_factor_of_one_changes_no_price(make_market: Callable[..., MarketData]) -> None:
    market = make_market(actions=[("AAA", 30, 2.0, 0.0), ("BBB", 40, 1.0, 0.25)])
    again = amplified(market, 1.0)
    columns = ["open", "high", "low", "close"]
    np.testing.assert_allclose(again.bars[columns], market.bars[columns], rtol=1e-9)
    np.testing.assert_allclose(again.actions["dividend"], market.actions["dividend"])


def test_split_is_no_shock_to_be_amplified(make_market: Callable[..., MarketData]) -> None:
    price = np.full((90, 4), 100.0)
    price[30:] = 50.0  # two new shares for one
    market = make_market(prices={"AAA": price}, actions=[("AAA", 30, 2.0, 0.0)])
    np.testing.assert_allclose(closes(amplified(market, 2.0), "AAA"), price[:, 3])


def test_dividend_stays_the_same_share_of_its_price(
    make_market: Callable[..., MarketData],
) -> None:
    market = make_market(actions=[("AAA", 60, 1.0, 0.5)])
    worse = amplified(market, 2.0)
    shares = [float(m.actions["dividend"].iloc[0]) / closes(m, "AAA")[59] for m in (market, worse)]
    assert shares[0] == pytest.approx(shares[1], rel=1e-3)


def test_simulated_crises_are_wilder_and_worse() -> None:
    def moves(settings: SimulatorSettings) -> np.ndarray:
        markets = (simulate(settings, seed) for seed in range(3))
        return np.concatenate([np.diff(market.log_price, axis=0).ravel() for market in markets])

    calm, crisis = moves(SMALL), moves(crisis_simulator(SMALL))
    assert crisis.std() > 1.4 * calm.std()
    assert crisis.mean() < calm.mean()


@pytest.mark.parametrize("kind", ["dataset", "market", "risk"])
def test_every_array_of_a_books_markets_has_the_crises_behind_it(
    kind: str, with_crisis: tuple[Dataset, Dataset]
) -> None:
    parts = [
        {"dataset": dataset, "market": dataset.market_arrays, "risk": dataset.market_arrays.risk}[
            kind
        ]
        for dataset in with_crisis
    ]
    markets = [len(dataset.ts) for dataset in with_crisis]
    assert markets == [2, 3]
    for field in fields(parts[0]):
        before, after = (getattr(part, field.name) for part in parts)
        if isinstance(before, np.ndarray) and len(before) == markets[0]:
            assert after.shape == (markets[1], *before.shape[1:]), field.name
            np.testing.assert_array_equal(after[: markets[0]], before)


def test_a_market_with_a_hole_has_its_crises_after_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTERDECK_HOME", str(tmp_path))
    days = list(range(SUNDAY + 14, SUNDAY + 35))
    market, start = without(hourly(weeks=14), "GBPUSD", days), "2019-05-20"
    dataset = real_dataset("multi-asset", market, Settings(), symbols=PAIRS, start=start)
    assert dataset.ts.shape == (1, 45)
    parts = Split(
        train=(Window(0, 10, 44),), validation=(), test=(), learned_from=0, learned_until=0
    )
    worse, _ = with_crises(dataset, parts, Settings(), count=1, market=market, start=start)
    assert worse.ts.tolist() == dataset.ts.tolist() * 2
