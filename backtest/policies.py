"""
Describes a run's trained policies: what each was trained on, and whether this run trades the same.

It reads cards and stamps alone, and knows neither networks nor books.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from agents.allocator.policy_file import ANY_GROUP
from agents.protocols import TrainedPolicy
from backtest.market.market_data import MarketData
from backtest.market.sessions import stamp_text
from config.errors import ConfigError, listed

SIMULATED = "simulator"  # how the name of a simulated market begins
BASELINES = {"top": "hierarchical risk parity", "bottom": "Black-Litterman"}


def check_policies(cards: Sequence[TrainedPolicy], market: MarketData) -> None:
    """
    Raise ConfigError where a policy is to place groups of a market that it never saw.

    Policies know groups and no instruments: any of their groups do, and a group may be missing.
    Raises it too where every policy is a specialist of a group that the market has not.
    """
    groups = _groups(market)
    for card in cards:
        unknown = sorted(groups - set(card.groups)) if card.group in ("", ANY_GROUP) else []
        if unknown:
            raise ConfigError(
                f"expected a market of the groups of {card.name!r} "
                f"({listed(card.groups)}), was {listed([market.name])} with {listed(unknown, 3)}"
            )
    if cards and all(_idle(card, groups) for card in cards):
        raise ConfigError(
            f"expected a market with instruments of {listed(card.group for card in cards)}, which "
            f"the policies place, was {listed([market.name])} with {listed(sorted(groups), 3)}"
        )


def policy_facts(cards: Sequence[TrainedPolicy]) -> dict[str, dict[str, Any]]:
    """Return what a manifest says of each policy, by its place."""
    return {
        card.slot: {
            "name": card.name,
            "digest": card.digest,
            "book": card.book,
            "groups": list(card.groups),
            "trained": msgspec.to_builtins(card.trained),
        }
        for card in cards
    }


def overlaps(cards: Sequence[TrainedPolicy], market: MarketData, decide_from: int) -> list[str]:
    """
    Return a line for each policy that was trained on what this run trades.

    Real data overlap where training ended after the first decision, whatever the instruments:
    markets move together. Simulated markets overlap where their seeds are the same.
    """
    lines = []
    for card in cards:
        record = card.trained
        if record.seeds:
            if not any(market.name == f"{SIMULATED}-{seed}" for seed in record.seeds):
                continue
            what = f"was trained on {market.name}, which this run trades"
        elif market.name.startswith(SIMULATED) or record.last_ts < decide_from:
            continue
        else:
            what = (
                f"was trained until {stamp_text(record.last_ts)}, this run decides from "
                f"{stamp_text(decide_from)} on"
            )
        lines.append(f"OVERLAP: policy {card.name} {what}: its results are no evidence")
    return lines


def allocator_notes(cards: Sequence[TrainedPolicy], market: MarketData) -> list[str]:
    """Return who places capital: each policy and its training, and which tier is a baseline."""
    if not cards:
        return [f"allocator: baseline, untrained ({', '.join(BASELINES.values())})"]
    groups = _groups(market)
    lines = [
        f"allocator, {card.slot}: {card.name}, places nothing: no instruments of its group"
        if _idle(card, groups)
        else f"allocator, {card.slot}: {card.name}, {_trained(card)}"
        for card in cards
    ]
    if all(card.kind != "top" for card in cards):
        lines.append(f"allocator, top: baseline, untrained ({BASELINES['top']})")
    placed = {card.group for card in cards if card.kind == "bottom"}
    left = sorted(groups - placed)
    if left and ANY_GROUP not in placed:
        named = f" of {', '.join(left)}" if placed else ""
        lines.append(f"allocator, bottom{named}: baseline, untrained ({BASELINES['bottom']})")
    return lines


def _trained(card: TrainedPolicy) -> str:
    record = card.trained
    first, last = stamp_text(record.first_ts), stamp_text(record.last_ts)
    seeds = f", {len(record.seeds)} simulated markets" if record.seeds else ""
    return f"trained on {record.source}{seeds}, {first} to {last}, {record.steps:,} steps"


def _idle(card: TrainedPolicy, groups: set[str]) -> bool:
    """Tell whether a policy is a specialist of a group that is none of these."""
    return card.group not in ("", ANY_GROUP, *groups)


def _groups(market: MarketData) -> set[str]:
    return {instrument.group for instrument in market.instruments}
