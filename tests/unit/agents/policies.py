"""Small policies with weights that do something, and the books they are asked about."""

import numpy as np
import torch

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import INSTRUMENT_INPUTS, MARKET_INPUTS, Normaliser
from agents.allocator.policy_file import PolicyCard
from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES
from agents.messages import Case, InstrumentState, MacroState, Portfolio, TrainingRecord

GROUPS = ("commodity", "forex", "index")
ROWS, MARKET = len(INSTRUMENT_INPUTS), len(MARKET_INPUTS)
DAY = 86_400_000_000_000


def normaliser(seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(0.5, 2.0, (200, len(INSTRUMENT_FEATURES)))
    return Normaliser.fit(features, rng.normal(-1.0, 0.1, (200, len(MACRO_FEATURES))))


def card(kind="bottom", **changes):
    record = TrainingRecord(
        source="made", digest="d" * 64, first_ts=100 * DAY, last_ts=200 * DAY, steps=500_000
    )
    given = {
        "kind": kind,
        "book": "multi-asset",
        "name": f"ppo-{kind}",
        "groups": GROUPS,
        "group": "" if kind == "top" else "*",
        "hidden": (16, 16),
        "normaliser": normaliser(),
        "trained": record,
    }
    return PolicyCard(**{**given, **changes})


def network(kind="bottom", seed=0, embeddings=0):
    """Return a network whose answers differ from row to row: heads begin almost at 0."""
    torch.manual_seed(seed)
    net = (
        TopNet(ROWS + embeddings, MARKET, (16, 16))
        if kind == "top"
        else BottomNet(ROWS, MARKET, (16, 16))
    )
    with torch.no_grad():
        net.head.weight.mul_(100.0)
        if kind == "top":
            net.regime_head.weight.mul_(100.0)
    return net


def arrays(count=7, seed=0):
    """Return features, macro, weights, shortable and groups of a book, some of it masked."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0.5, 2.0, (count, len(INSTRUMENT_FEATURES)))
    features[rng.random(features.shape) < 0.2] = np.nan
    macro = rng.normal(-1.0, 0.1, len(MACRO_FEATURES))
    macro[:3] = np.nan
    weights = rng.uniform(-0.1, 0.1, count)
    group = np.arange(count) % len(GROUPS)
    return features, macro, weights, group == 1, group


def case_of(features, macro, weights, shortable, group, drawdown=0.05, regime="bear"):
    """Return the case that a desk with these arrays would send; symbols are S00, S01, ..."""
    states = tuple(
        InstrumentState(
            symbol=f"S{i:02d}",
            group=GROUPS[g],
            ts_event=1,
            ts_init=1,
            price=10.0,
            features=_masked(features[i]),
            weight=float(weights[i]),
            shortable=bool(shortable[i]),
        )
        for i, g in enumerate(group)
    )
    return Case(
        ts_event=1,
        ts_init=1,
        trigger="schedule",
        horizon="medium",
        instruments=states,
        macro=MacroState(ts_event=1, ts_init=1, features=_masked(macro), regime=regime),
        portfolio=Portfolio(equity=1e5, cash=1e5, drawdown=drawdown),
    )


def _masked(row):
    return tuple(None if np.isnan(x) else float(x) for x in row)
