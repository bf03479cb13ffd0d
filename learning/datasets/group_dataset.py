"""
The dataset of one group's instruments, which its specialist trades.

The risk model of fewer instruments is a part of the whole one's, except for the crowd's loss,
which is kept: it is larger with more instruments, and a larger one still bounds every book's VaR
from above. A pair that converts another instrument's currency has to be in the same group.
"""

from dataclasses import replace

import numpy as np

from agents.arrays import IntArray
from config.errors import DataError
from learning.datasets.dataset import Dataset
from learning.twin.market_arrays import MarketArrays

PER_INSTRUMENT = (  # market arrays whose last axis is the instruments
    *("bid", "ask", "size", "close", "close_bid", "close_ask", "session_close", "last_close"),
    *("age", "dividends", "returns", "volatility", "volume"),
    *("tick", "lot", "fee_frac", "funded", "shortable"),
)


def only_group(dataset: Dataset, group: str) -> Dataset:
    """
    Return the dataset of one group's instruments; its markets, sessions and digest stay.

    Raises DataError where the dataset has no such group, or a member's currency needs a pair of
    another group.
    """
    if group not in dataset.groups:
        raise DataError(f"expected a group of {', '.join(dataset.groups)}, was {group!r}")
    members = np.flatnonzero(dataset.group == dataset.groups.index(group))
    return replace(
        dataset,
        symbols=tuple(dataset.symbols[i] for i in members),
        groups=(group,),
        group=np.zeros(len(members), dtype=np.int64),
        shortable=dataset.shortable[members],
        market_arrays=_part(dataset.market_arrays, members),
        features=dataset.features[:, :, members],
        returns=dataset.returns[..., members],
    )


def _part(market_arrays: MarketArrays, members: IntArray) -> MarketArrays:
    place = {int(i): k for k, i in enumerate(members)}
    sources: list[tuple[int, bool] | None] = []
    for i in members:
        source = market_arrays.rate_sources[i]
        if source is not None and source[0] not in place:
            own, pair = (market_arrays.instruments[k].symbol for k in (i, source[0]))
            raise DataError(f"{own}: expected {pair}, its currency's pair, in its group, was not")
        sources.append(None if source is None else (place[source[0]], source[1]))
    risk = market_arrays.risk
    return replace(
        market_arrays,
        **{name: getattr(market_arrays, name)[..., members] for name in PER_INSTRUMENT},
        instruments=tuple(market_arrays.instruments[i] for i in members),
        group=np.zeros(len(members), dtype=np.int64),
        rate_sources=tuple(sources),
        risk=replace(
            risk,
            residual=risk.residual[..., members],
            volatility=risk.volatility[..., members],
            known=risk.known[..., members],
            correlation=risk.correlation[..., members[:, None], members],
            var=risk.var[..., members],
            mean=risk.mean[..., members],
        ),
    )
