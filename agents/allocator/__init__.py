"""
The allocator: a top policy shares capital among groups, bottom policies place each share.

`tiers` is the shape and the message between the tiers, `hrp` the top baseline, `views` the
bottom baseline, `estimates` what both read from past returns. `trained` are the policies that take
the baselines' places, `policy_file` is their stored form, `networks` and `observation` what they
are and what they see.
"""

from collections.abc import Mapping
from pathlib import Path

from agents.allocator.hrp import HierarchicalParityTop
from agents.allocator.tiers import TieredAllocator
from agents.allocator.views import BlackLittermanBottom
from agents.messages import JuniorName
from config.settings import AllocatorSettings


def build_allocator(
    settings: AllocatorSettings,
    folder: Path | None = None,
    *,
    round_trip: Mapping[str, float] | None = None,
    prior_ic: Mapping[JuniorName, float] | None = None,
) -> TieredAllocator:
    """
    Return the allocator of a folder of trained policies: `top`, `bottom`, `bottom-<group>`.

    What is not there is the baseline's to do, as `build_baseline` makes it; without a folder all
    is, and torch is not loaded.
    Raises ConfigError, one line, for a folder that holds no policy, or one that cannot be used.
    """
    baseline = build_baseline(settings, round_trip=round_trip, prior_ic=prior_ic)
    if folder is None:
        return baseline
    from agents.allocator.trained import with_policies

    return with_policies(baseline, folder, settings.gross)


def build_baseline(
    settings: AllocatorSettings,
    *,
    round_trip: Mapping[str, float] | None = None,
    prior_ic: Mapping[JuniorName, float] | None = None,
) -> TieredAllocator:
    """
    Return the untrained allocator: risk parity over groups, Black-Litterman within them.

    `round_trip` is what getting in and out of an instrument costs, a fraction of notional by
    symbol; `prior_ic` what is expected of juniors whose own prior is known. See `views` for
    those that are not named.
    Raises ConfigError if the lookback is shorter than the history that an instrument needs.
    """
    bottom = BlackLittermanBottom(settings, round_trip or {}, prior_ic or {})
    priors = ", ".join(f"{junior} {ic:g}" for junior, ic in bottom.prior_ic.items())
    return TieredAllocator(
        top=HierarchicalParityTop(gross=settings.gross),
        bottom=bottom,
        assumptions={"prior-ic": priors},
        lookback=settings.lookback,
    )
