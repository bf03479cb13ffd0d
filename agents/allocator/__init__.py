"""
The allocator: a top policy shares capital among groups, bottom policies place each share.

`tiers` is the shape and the message between the tiers, `hrp` the top baseline, `views` the
bottom baseline, `estimates` what both are told of past returns.
"""

from __future__ import annotations

from agents.allocator.hrp import HierarchicalParityTop
from agents.allocator.tiers import GroupBudgets, TieredAllocator
from agents.allocator.views import BlackLittermanBottom
from agents.protocols import Allocator
from config.settings import AllocatorSettings

__all__ = ["GroupBudgets", "TieredAllocator", "build_baseline"]


def build_baseline(settings: AllocatorSettings) -> Allocator:
    """
    Return the untrained allocator: risk parity over groups, Black-Litterman within them.

    Imports nothing heavy; skfolio is loaded when two or more groups first share capital.
    Raises ConfigError if the lookback is shorter than the history that an instrument needs.
    """
    return TieredAllocator(
        top=HierarchicalParityTop(gross=settings.gross),
        bottom=BlackLittermanBottom(settings),
        lookback=settings.lookback,
    )
