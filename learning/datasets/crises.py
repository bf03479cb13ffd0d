"""
Generated crises for the curriculum's last level: the dataset's own markets, made worse.

A simulated dataset gets markets of other seeds, with more volatility, longer bear markets and
more gaps. A real one is repeated with larger shocks: every bar's log returns are multiplied, so
that stamps, halts, the order of events and correlations stay. News and reports are left out,
because they belong to other prices; macro series stay. Features, risk and market arrays are then
made of these markets as of any other. The module knows no learner.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from backtest.market.market_data import MarketData, canonical
from config.errors import ConfigError, DataError
from config.settings import Settings
from config.simulator import SimulatorSettings
from learning.datasets.dataset import Dataset, real_dataset, simulated_dataset
from learning.datasets.windows import Split, Window
from learning.twin.market_arrays import MarketArrays
from learning.twin.risk_arrays import RiskArrays

CRISIS_SEEDS = 1_000_000  # added to a dataset's seeds: no crisis is another part's market
VOLATILITY = 1.75  # of a crisis, against the dataset's own
GAPS = 5.0
REGIME_LENGTHS = (0.4, 1.5, 0.5)  # bull, bear, sideways
AMPLIFICATIONS = (1.5, 2.0, 2.5)  # of log returns, taken in turn
PRICES = ("open", "high", "low", "close")
PER_INSTRUMENT = ("lot", "fee_frac", "funded", "shortable", "group")  # no market's axis


def with_crises(
    dataset: Dataset,
    parts: Split,
    settings: Settings,
    *,
    count: int,
    market: MarketData | None = None,
    start: str | None = None,
    own_costs: bool = False,
) -> tuple[Dataset, tuple[Window, ...]]:
    """
    Return the dataset with `count` crises behind its own markets, and their windows.

    The windows are the sessions that training windows are: what a real market did later is in no
    crisis. A real dataset needs the `market` that it was made of, its `start` and `own_costs`.
    Raises ConfigError where that is missing, DataError where a crisis has another shape.
    """
    if count == 0:
        return dataset, ()
    if dataset.simulator is not None:
        seeds = [CRISIS_SEEDS + seed for seed in range(count)]
        crises: Sequence[Dataset] = [
            simulated_dataset(
                dataset.name,
                seeds=seeds,
                sessions=dataset.simulator.sessions,
                settings=settings,
                simulator=crisis_simulator(dataset.simulator),
            )
        ]
    elif market is None:
        raise ConfigError("expected the market of a real dataset for its crises, was none")
    else:
        factors = [AMPLIFICATIONS[k % len(AMPLIFICATIONS)] for k in range(count)]
        worse = [amplified(market, factor) for factor in factors]
        crises = [
            real_dataset(
                dataset.name,
                m,
                settings,
                symbols=dataset.symbols,
                start=start,
                own_costs=own_costs,
            )
            for m in worse
        ]
    spans = sorted({(w.start, w.stop) for w in parts.train})
    first = len(dataset.ts)
    joined = _stacked([dataset, *crises])
    windows = tuple(Window(m, *span) for m in range(first, len(joined.ts)) for span in spans)
    return joined, windows


def crisis_simulator(calm: SimulatorSettings) -> SimulatorSettings:
    """Return a simulator's settings with its storms made the weather."""
    bull, bear, sideways = (
        max(2.0, length * factor)
        for length, factor in zip(calm.regime_sessions, REGIME_LENGTHS, strict=True)
    )
    one, two, three = (VOLATILITY * volatility for volatility in calm.volatility_per_year)
    return msgspec.structs.replace(
        calm,
        regime_sessions=(bull, bear, sideways),
        volatility_per_year=(one, two, three),
        gap_probability=min(1.0, GAPS * calm.gap_probability),
    )


def amplified(market: MarketData, factor: float) -> MarketData:
    """
    Return a market whose bars' log returns are `factor` times as large, without its news.

    Returns are total of splits; a dividend stays the same share of its price.
    """
    actions = market.actions
    tables, paid = [], []
    for instrument in market.instruments:
        own = market.bars[market.bars["symbol"] == instrument.symbol].sort_values("ts_close")
        if own.empty:
            continue
        events = actions[actions["symbol"] == instrument.symbol]
        opened = own["ts_open"].to_numpy()
        splits = np.zeros(len(own))  # log of new shares per old share, at the bar that shows it
        at = np.searchsorted(opened, events["ts"].to_numpy())
        inside = at < len(own)
        np.add.at(splits, at[inside], np.log(events["split"].to_numpy()[inside]))
        prices = np.log(own[list(PRICES)].to_numpy(dtype=np.float64))
        before = np.concatenate([prices[:1, 0], prices[:-1, 3]])
        moved = factor * (prices + (splits - before)[:, None])  # since the close before
        ends = prices[0, 0] + np.cumsum(moved[:, 3] - splits)
        earlier = np.concatenate([prices[:1, 0], ends[:-1]])
        made = np.exp(moved + (earlier - splits)[:, None])
        tick = 10.0**-instrument.price_precision
        rounded = np.maximum(np.round(made, instrument.price_precision), tick)
        tables.append(own.assign(**dict(zip(PRICES, rounded.T, strict=True))))
        ratio = np.ones(len(events))
        ratio[inside] = np.exp(earlier - before)[at[inside]]
        paid.append(events.assign(dividend=events["dividend"].to_numpy() * ratio))
    return canonical(
        replace(
            market,
            name=f"{market.name} x{factor:g}",
            bars=pd.concat(tables),
            actions=pd.concat(paid) if paid else actions,
            news=(),
            fundamentals=(),
            notes=(*market.notes, f"a generated crisis: log returns times {factor:g}, no news"),
        )
    )


def _stacked(datasets: Sequence[Dataset]) -> Dataset:
    """Return one dataset of all markets. Raises DataError where shapes or instruments differ."""
    first = datasets[0]
    for other in datasets[1:]:
        alike = other.features.shape[1:] == first.features.shape[1:]
        if other.symbols != first.symbols or not alike:
            raise DataError(
                f"expected a crisis of {len(first.symbols)} instruments and {first.ts.shape[1]} "
                f"sessions, was {len(other.symbols)} and {other.ts.shape[1]}"
            )
    digest = hashlib.sha256("".join(d.digest for d in datasets).encode()).hexdigest()
    return replace(
        first,
        **_joined(list(datasets), Dataset),
        market_arrays=replace(
            first.market_arrays,
            **_joined([d.market_arrays for d in datasets], MarketArrays),
            risk=replace(
                first.market_arrays.risk,
                **_joined([d.market_arrays.risk for d in datasets], RiskArrays),
                window=max(d.market_arrays.risk.window for d in datasets),
            ),
        ),
        seeds=tuple(seed for d in datasets for seed in d.seeds),
        digest=digest,
    )


def _joined(
    parts: Sequence[Dataset] | Sequence[MarketArrays] | Sequence[RiskArrays],
    kind: type[Dataset] | type[MarketArrays] | type[RiskArrays],
) -> dict[str, Any]:
    """Return the arrays that have an axis of markets, one behind the other."""
    return {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(kind)
        if field.name not in PER_INSTRUMENT
        and isinstance(getattr(parts[0], field.name), np.ndarray)
    }
