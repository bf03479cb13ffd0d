"""
Datasets for training: what policies see, the labels that they learn, and the arrays they trade.

A dataset holds M markets of equal shape. Features come from `agents.features.batch`, so training
sees what the desk sees; `learning.twin.market_arrays` makes what is traded; both are made once
(`dataset_arrays`). Labels look ahead and are targets only. It knows no learner and no policy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agents.arrays import BoolArray, Float32Array, FloatArray, IntArray
from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES
from agents.features.indicators import INDEX_FEATURES, PRICE_FEATURES
from backtest.market.market_data import MarketData
from backtest.market.sessions import parse_day, session_day, stamp_text
from config.allocator import SPLITS, EpisodeSettings, SplitSettings
from config.errors import ConfigError, DataError
from config.settings import Settings
from config.simulator import SimulatorSettings
from learning.datasets.dataset_arrays import dataset_arrays
from learning.datasets.markets import BookName, real_market, simulated_market, simulator_settings
from learning.datasets.windows import EpisodeSampler, Split, Window, split_by_market, split_by_time
from learning.twin.market_arrays import MarketArrays


@dataclass(frozen=True)
class Dataset:
    """
    M markets of T sessions and N instruments, all of equal shape; arrays are read-only.

    Shapes: group (N,) indexes `groups`; shortable (N,); ts (M, T) closing stamps; features
    (M, T, N, 22) and macro (M, T, 18), float32, NaN where masked; returns (M, T, N), as traded.

    Regimes (M, T) index `config.simulator.REGIMES` (bull, bear, sideways). `label` is the regime
    with hindsight (`agents.features.regime.regime_label` of the equal-weight index): a target
    only, -1 at the market's ends, where its window is cut. `estimate` is the causal one. `hidden`
    is a simulated market's true regime, -1 in a real one.

    `sessions_per_year` are the calendar's, for annual figures.

    Simulated datasets hold the `seeds` (M,) and the `simulator` settings that
    `markets.simulated_market` makes their markets of again.
    """

    name: BookName
    symbols: tuple[str, ...]
    groups: tuple[str, ...]
    group: IntArray
    shortable: BoolArray
    market_arrays: MarketArrays
    ts: IntArray
    features: Float32Array
    macro: Float32Array
    label: IntArray
    estimate: IntArray
    hidden: IntArray
    returns: FloatArray
    source: str
    digest: str
    sessions_per_year: int = 252
    seeds: tuple[int, ...] = ()
    simulator: SimulatorSettings | None = None
    notes: tuple[str, ...] = ()

    @property
    def truth(self) -> IntArray:
        """What a policy is taught to tell: a simulated market's true regimes, else labels."""
        return self.label if self.simulator is None else self.hidden


def simulated_dataset(
    name: BookName,
    *,
    seeds: Sequence[int],
    sessions: int,
    settings: Settings,
    simulator: SimulatorSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
) -> Dataset:
    """
    Return M simulated markets, one a seed, stacked.

    Each has `simulator.warm_up + sessions` sessions; `simulator` stands in for the book's own
    settings (its `sessions` is not used). `progress` takes markets done and to do; `cache` is
    by default the data directory's. Raises ConfigError unless seeds are given, each once.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"expected seeds, each once, was {list(seeds)}")
    chosen = simulator or simulator_settings(name, sessions)
    chosen = msgspec.structs.replace(chosen, sessions=sessions)

    def make(k: int) -> tuple[MarketData, IntArray]:
        market = simulated_market(name, chosen, seeds[k])
        return market.to_market_data(), market.regime

    made = dataset_arrays([name, chosen, list(seeds)], len(seeds), make, settings, progress, cache)
    dataset = _dataset(name, *made, source="simulator")
    return replace(dataset, seeds=tuple(seeds), simulator=chosen)


def real_dataset(
    name: BookName,
    market: MarketData,
    settings: Settings,
    *,
    symbols: Sequence[str] = (),
    start: str | None = None,
    own_costs: bool = False,
    cache: Path | None = None,
) -> Dataset:
    """
    Return one real market as a dataset, M = 1.

    `symbols`, `start` and `own_costs` as in `markets.real_market`, whose market a backtest of the
    book trades, and whose errors are raised. Raises DataError for a price that is no number.
    """
    own = real_market(name, market, symbols, start=start, own_costs=own_costs)
    prices = own.bars[["open", "high", "low", "close"]].to_numpy()
    bad = np.flatnonzero(~np.isfinite(prices).all(axis=1))
    if bad.size:
        row = own.bars.iloc[int(bad[0])]
        raise DataError(
            f"expected finite prices for {row['symbol']} at {stamp_text(int(row['ts_open']))}, "
            f"was {prices[bad[0]].tolist()}; {bad.size} such bars"
        )
    hidden = np.full(len(own.session_closes), -1, dtype=np.int64)
    made = dataset_arrays([name, own.digest], 1, lambda k: (own, hidden), settings, None, cache)
    dataset = _dataset(name, *made, source=own.name)
    masked = [
        *_all_masked(dataset.features, INSTRUMENT_FEATURES),
        *_all_masked(dataset.macro, MACRO_FEATURES),
    ]
    notes = list(own.notes)
    if masked:
        notes.append(f"masked throughout, for the source has none: {', '.join(masked)}")
    return replace(dataset, notes=tuple(notes))


def split(
    dataset: Dataset, settings: SplitSettings | None = None, episode: EpisodeSettings | None = None
) -> Split:
    """
    Return the parts of a dataset: by time in a real market, by market among simulated ones.

    Without `settings` those of `SPLITS` hold. Raises DataError where a part is too short for an
    episode.
    """
    chosen, episode = settings or SPLITS[dataset.name], episode or EpisodeSettings()
    if dataset.simulator is None:
        return split_by_time(dataset.ts[0], chosen, episode)
    return split_by_market(
        dataset.ts, chosen, episode, measured_from=max(dataset.simulator.warm_up - 1, 0)
    )


def held_out(
    dataset: Dataset, episode: EpisodeSettings | None = None, *, after: str = ""
) -> tuple[Window, ...]:
    """
    Return a window a market over a dataset that nothing trains on, from the day after `after`.

    Raises DataError where one is too short for an episode.
    """
    episode = episode or EpisodeSettings()
    windows = []
    for m, ts in enumerate(dataset.ts):
        day = parse_day(after, "after") + 1 if after else 0
        start = max(episode.warm_up, int(np.searchsorted(session_day(ts), day)))
        windows.append(Window(m, start, len(ts) - 1))
    EpisodeSampler(windows, episode)
    return tuple(windows)


def training_rows(dataset: Dataset, parts: Split) -> tuple[Float32Array, Float32Array]:
    """
    Return features (R, 22) and macro features (S, 18) of the training windows, NaN where masked.

    What a normaliser is fitted on. Raises DataError where a feature of price is masked throughout
    for an instrument: it could not be learned from, and something is wrong with its bars.
    """
    where = [(w.market, slice(w.start, w.stop)) for w in parts.train]
    features = np.concatenate([dataset.features[m, s] for m, s in where])
    macro = np.concatenate([dataset.macro[m, s] for m, s in where])
    prices = [INSTRUMENT_FEATURES.index(f.__name__) for f in PRICE_FEATURES]
    gone = np.isnan(features[:, :, prices]).all(axis=0)
    alone = np.bincount(dataset.group)[dataset.group] == 1  # has no group to be compared with
    gone[alone, [f.__name__ for f in PRICE_FEATURES].index("relative_strength")] = False
    masked = np.argwhere(gone)
    if masked.size:
        i, k = masked[0]
        raise DataError(
            f"expected {INSTRUMENT_FEATURES[prices[k]]} of {dataset.symbols[i]} to be known in "
            f"the training windows, was masked throughout; {len(masked)} such columns"
        )
    index = [MACRO_FEATURES.index(f.__name__) for f in INDEX_FEATURES]
    for k in index:
        if np.isnan(macro[:, k]).all():
            raise DataError(
                f"expected {MACRO_FEATURES[k]} to be known in the training windows, "
                "was masked throughout"
            )
    return features.reshape(-1, features.shape[-1]), macro


def _dataset(
    name: BookName,
    digest: str,
    arrays: Mapping[str, Any],
    market_arrays: MarketArrays,
    *,
    source: str,
) -> Dataset:
    groups = tuple(sorted({i.group for i in market_arrays.instruments}))
    return Dataset(
        name=name,
        symbols=tuple(i.symbol for i in market_arrays.instruments),
        groups=groups,
        group=market_arrays.group,
        shortable=market_arrays.shortable,
        market_arrays=market_arrays,
        **arrays,
        returns=market_arrays.returns,
        source=source,
        digest=digest,
        sessions_per_year=market_arrays.sessions_per_year,
    )


def _all_masked(values: Float32Array, names: Sequence[str]) -> list[str]:
    masked = np.isnan(values).reshape(-1, values.shape[-1]).all(axis=0)
    return [name for name, gone in zip(names, masked, strict=True) if gone]
