"""
The allocator's shape, the same for every book, and the message that passes between its tiers.

A top policy looks at the whole market and answers with `GroupBudgets`; a bottom policy is given
one group at a time, with that message, and places the group's budget on its instruments. Trained
policies take the baselines' places one tier at a time: the seam is this file. It knows no
algorithm, and keeps nothing from one call to the next.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agents.allocator.estimates import MIN_SESSIONS, Estimates, estimate
from agents.allocator.policy_file import PolicyCard
from agents.arrays import Panel
from agents.messages import Allocation, Case, InstrumentState, Message, Proposal, Regime
from config.errors import ConfigError

DECIMALS = 10  # weights are rounded to this many, which hides the last-bit jitter of BLAS
SLACK = 1e-9


class GroupBudgets(Message, frozen=True, kw_only=True):
    """
    What the top tier tells the bottom tier.

    `budgets` are fractions of equity: the most that a group's absolute weights may sum to; a
    group that is not named has none. `policy` names who made it.
    Raises ValueError if a budget is negative or not finite.
    """

    policy: str
    regime: Regime
    budgets: dict[str, float]

    def __post_init__(self) -> None:
        for group, budget in self.budgets.items():
            if not (math.isfinite(budget) and budget >= 0.0):
                raise ValueError(f"expected a finite budget >= 0 for {group!r}, was {budget}")


@dataclass(frozen=True)
class Placement:
    """A bottom policy's answer: weights by symbol, and whose proposals moved theirs."""

    weights: Mapping[str, float]
    views: tuple[str, ...] = ()


class TopPolicy(Protocol):
    """Shares capital among groups."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def share(self, case: Case, estimates: Estimates) -> GroupBudgets:
        """Return a budget for each group that is to have one."""


class BottomPolicy(Protocol):
    """Places one group's budget on its instruments."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def place(
        self,
        case: Case,
        goal: GroupBudgets,
        members: Sequence[InstrumentState],
        estimates: Estimates,
        proposals: Mapping[str, Proposal],
    ) -> Placement:
        """
        Return weights for some or all of the members of one group.

        `members` are those with estimates, sorted by symbol. Absolute weights sum to at most the
        group's budget; a member that is not named gets none.
        """


@dataclass(frozen=True)
class TieredAllocator:
    """
    The allocator of one top and one bottom policy.

    `policies` are the cards of those that were trained; `assumptions` what else the baselines
    were made with that no settings say, by name.
    Raises ConfigError if `lookback` is shorter than the history that an instrument needs.
    """

    top: TopPolicy
    bottom: BottomPolicy
    lookback: int
    policies: tuple[PolicyCard, ...] = ()
    assumptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.lookback < MIN_SESSIONS:
            raise ConfigError(
                f"allocator.lookback: expected at least {MIN_SESSIONS} sessions, "
                f"was {self.lookback}"
            )

    @property
    def models(self) -> dict[str, str]:
        """The policy of each tier, what they assume, and every trained one beside its digest."""
        return {
            "allocator-top": self.top.name,
            "allocator-bottom": self.bottom.name,
            **{f"allocator-{name}": text for name, text in self.assumptions.items()},
            **{f"allocator-{card.slot}": f"{card.name} {card.digest}" for card in self.policies},
        }

    def allocate(self, case: Case, panel: Panel, proposals: Sequence[Proposal]) -> Allocation:
        """
        Return a target weight for every instrument of the case, 0.0 where none is due.

        The answer depends on the arguments alone, and not on the order of instruments or
        proposals. Weights and budgets are sorted by name.
        Raises ValueError if two proposals name one symbol, one names a symbol that the case does
        not hold, or a bottom policy breaks its group's budget.
        """
        states = {state.symbol: state for state in case.instruments}
        by_symbol = _by_symbol(proposals, states)
        estimates = estimate(panel, self.lookback)
        goal = self.top.share(case, estimates)
        weights = dict.fromkeys(sorted(states), 0.0)
        views: list[str] = []
        for group in sorted(goal.budgets):
            members = [
                states[s] for s in estimates.symbols if s in states and states[s].group == group
            ]
            placed = self.bottom.place(case, goal, members, estimates, by_symbol)
            _check(group, goal.budgets[group], members, placed.weights)
            weights |= {symbol: _rounded(weight) for symbol, weight in placed.weights.items()}
            views += placed.views
        return Allocation(
            regime=goal.regime,
            top_policy=self.top.name,
            bottom_policy=self.bottom.name,
            group_budgets={g: _rounded(goal.budgets[g]) for g in sorted(goal.budgets)},
            weights=weights,
            views=tuple(sorted(views)),
        )


def _by_symbol(
    proposals: Sequence[Proposal], states: Mapping[str, InstrumentState]
) -> dict[str, Proposal]:
    by_symbol: dict[str, Proposal] = {}
    for proposal in proposals:
        if proposal.symbol not in states:
            raise ValueError(f"expected a symbol of the case, was {proposal.symbol!r}")
        if proposal.symbol in by_symbol:
            raise ValueError(f"expected one proposal for {proposal.symbol!r}, was several")
        by_symbol[proposal.symbol] = proposal
    return by_symbol


def _check(
    group: str, budget: float, members: Sequence[InstrumentState], placed: Mapping[str, float]
) -> None:
    """Hold a bottom policy to its promise: its own members, long only where due, in budget."""
    shortable = {member.symbol: member.shortable for member in members}
    for symbol, weight in placed.items():
        if symbol not in shortable:
            raise ValueError(f"expected a member of {group!r}, was {symbol!r}")
        if not math.isfinite(weight) or (weight < 0.0 and not shortable[symbol]):
            raise ValueError(f"expected a weight that {symbol!r} may have, was {weight}")
    total = math.fsum(abs(weight) for weight in placed.values())
    if total > budget + SLACK:
        raise ValueError(f"expected at most {budget} placed in {group!r}, was {total}")


def _rounded(value: float) -> float:
    return round(value, DECIMALS) + 0.0  # -0.0 becomes 0.0
