"""
Trained policies in the baselines' places: a case becomes the arrays that training used.

A top policy looks at the means of its book's groups, a bottom policy at its group's instruments,
both at the whole market beside them. Every instrument of the case is observed, as in training;
those without history enough are given nothing here, and what the network meant for them stays in
cash. Trained policies read no proposal: what juniors find reaches them as features. They know
nothing of how they were trained; their cards (`policy_file`) do.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.allocator.estimates import Estimates
from agents.allocator.graph import SectorGraph, load_graph
from agents.allocator.networks import LOGIT_REGIMES, BottomNet, TopNet
from agents.allocator.observation import (
    Observation,
    bottom_shares,
    group_means,
    observe,
    top_budgets,
)
from agents.allocator.policy_file import (
    ANY_GROUP,
    GRAPH_FILE,
    PolicyCard,
    find_policies,
    load_policy,
)
from agents.allocator.tiers import BottomPolicy, GroupBudgets, Placement, TieredAllocator
from agents.arrays import Float32Array, FloatArray, Panel
from agents.messages import Case, InstrumentState, Proposal
from config.errors import ConfigError


@dataclass(frozen=True)
class CaseArrays:
    """
    A case as arrays, its instruments sorted by symbol.

    Shapes: features (N, 22) and macro (18,), NaN where masked; weights, shortable (N,).
    """

    symbols: tuple[str, ...]
    groups: tuple[str, ...]
    features: FloatArray
    macro: FloatArray
    weights: FloatArray
    shortable: NDArray[np.bool_]
    drawdown: float

    def observe(self, card: PolicyCard, budgets: Mapping[str, float]) -> Observation:
        """Return what a policy sees, each instrument beside the budget of its group."""
        own = np.array([budgets.get(group, 0.0) for group in self.groups])
        return observe(
            self.features,
            self.macro,
            self.weights,
            self.shortable,
            own,
            self.drawdown,
            card.normaliser,
        )


def case_arrays(case: Case) -> CaseArrays:
    """Return a case's arrays."""
    states = sorted(case.instruments, key=lambda state: state.symbol)
    return CaseArrays(
        symbols=tuple(state.symbol for state in states),
        groups=tuple(state.group for state in states),
        features=np.array([state.features for state in states], dtype=np.float64),
        macro=np.array(case.macro.features, dtype=np.float64),
        weights=np.array([state.weight for state in states]),
        shortable=np.array([state.shortable for state in states], dtype=np.bool_),
        drawdown=case.portfolio.drawdown,
    )


@dataclass(frozen=True)
class TrainedTop:
    """
    A `TopPolicy`: budgets sum to at most `gross`, the lesser of the settings' and the card's.

    The regime is the network's own where it was trained to tell, else the case's. `graph` embeds
    the groups where the card says so.
    """

    net: TopNet
    card: PolicyCard
    gross: float
    graph: SectorGraph | None = None

    @property
    def name(self) -> str:
        """The card's."""
        return self.card.name

    def share(self, case: Case, estimates: Estimates) -> GroupBudgets:
        """Return a budget for every group of the case. Raises ConfigError for an unknown one."""
        arrays = case_arrays(case)
        groups = sorted(set(arrays.groups))
        check_groups(self.card, groups)
        regime, budgets = case.macro.regime, dict.fromkeys(groups, 0.0)
        if groups:
            seen = arrays.observe(self.card, {})
            index = [groups.index(group) for group in arrays.groups]
            rows = group_means(seen.instruments, index, len(groups))
            with _one_thread():
                if self.graph is not None:
                    returns = _columns(estimates.panel, arrays.symbols)
                    around = self.graph.embed(returns, np.array(index), len(groups))
                    rows = np.concatenate([rows, around], axis=-1)
                means, logits = self.net(_batch(rows), _batch(seen.market))
            shares = top_budgets(means[0].numpy(), self.gross)
            budgets = dict(zip(groups, shares.tolist(), strict=True))
            if self.card.regimes:
                regime = LOGIT_REGIMES[int(logits[0].argmax())]
        return GroupBudgets(policy=self.name, regime=regime, budgets=budgets)


@dataclass(frozen=True)
class TrainedBottom:
    """A `BottomPolicy` for the groups that its card names."""

    net: BottomNet
    card: PolicyCard

    @property
    def name(self) -> str:
        """The card's."""
        return self.card.name

    def place(
        self,
        case: Case,
        goal: GroupBudgets,
        members: Sequence[InstrumentState],
        estimates: Estimates,
        proposals: Mapping[str, Proposal],
    ) -> Placement:
        """Return the members' weights: the group's budget times the network's shares."""
        if not members:
            return Placement({})
        group = members[0].group
        arrays = case_arrays(case)
        seen = arrays.observe(self.card, goal.budgets)
        rows = [i for i, name in enumerate(arrays.groups) if name == group]
        with _one_thread():
            means = self.net(_batch(seen.instruments[rows]), _batch(seen.market))
        shares = bottom_shares(means[0].numpy(), arrays.shortable[rows])
        weights = goal.budgets[group] * shares
        placed = dict(zip((arrays.symbols[i] for i in rows), weights.tolist(), strict=True))
        return Placement({member.symbol: placed[member.symbol] for member in members})


@dataclass(frozen=True)
class BottomByGroup:
    """
    A `BottomPolicy` that hands each group to its own policy, and any other to `otherwise`.

    `groups` are those of the book that the policies were trained on.
    """

    groups: tuple[str, ...]
    own: Mapping[str, BottomPolicy]
    otherwise: BottomPolicy

    @property
    def name(self) -> str:
        """The names of the policies that place the book's groups, each once."""
        policies = [self.own.get(group, self.otherwise) for group in self.groups]
        return ", ".join(dict.fromkeys(policy.name for policy in policies))

    def place(
        self,
        case: Case,
        goal: GroupBudgets,
        members: Sequence[InstrumentState],
        estimates: Estimates,
        proposals: Mapping[str, Proposal],
    ) -> Placement:
        """Return the answer of the group's policy."""
        policy = self.own.get(members[0].group, self.otherwise) if members else self.otherwise
        return policy.place(case, goal, members, estimates, proposals)


def with_policies(baseline: TieredAllocator, folder: Path, gross: float) -> TieredAllocator:
    """
    Return an allocator with a folder's policies in the baseline's places.

    `gross` bounds what a top policy shares. Raises ConfigError where the folder holds no policy,
    one that cannot be read or is in another's place, or policies of several books.
    """
    places = find_policies(folder)
    top, bottom = baseline.top, baseline.bottom
    own: dict[str, BottomPolicy] = {}
    cards = []
    for place in places:
        net, card = load_policy(place)
        if card.slot != place.name:
            raise ConfigError(f"expected a policy for {place.name} in {place}, was {card.slot}")
        if isinstance(net, TopNet):
            graph = load_graph(place / GRAPH_FILE) if card.embeddings else None
            top = TrainedTop(net, card, min(gross, card.gross), graph)
        elif card.group == ANY_GROUP:
            bottom = TrainedBottom(net, card)
        else:
            own[card.group] = TrainedBottom(net, card)
        cards.append(card)
    books = sorted({card.book for card in cards})
    if len(books) > 1:
        raise ConfigError(f"expected policies of one book in {folder}, was {', '.join(books)}")
    if own:
        groups = tuple(sorted({group for card in cards for group in card.groups}))
        bottom = BottomByGroup(groups, own, bottom)
    return replace(baseline, top=top, bottom=bottom, policies=tuple(cards))


def check_groups(card: PolicyCard, groups: Sequence[str]) -> None:
    """Raise ConfigError where a policy is to share capital among groups that it never saw."""
    unknown = sorted(set(groups) - set(card.groups))
    if unknown:
        raise ConfigError(
            f"expected the groups of {card.name!r} ({', '.join(card.groups)}), "
            f"was {', '.join(unknown)}"
        )


def _columns(panel: Panel, symbols: Sequence[str]) -> FloatArray:
    """Return a panel's columns in the order of `symbols`, NaN for one that it has not."""
    column = {symbol: i for i, symbol in enumerate(panel.symbols)}
    returns = np.full((len(panel.returns), len(symbols)), np.nan)
    for i, symbol in enumerate(symbols):
        if symbol in column:
            returns[:, i] = panel.returns[:, column[symbol]]
    return returns


def _batch(array: Float32Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).unsqueeze(0)


@contextmanager
def _one_thread() -> Iterator[None]:
    """
    Ask networks on one thread: the order of sums, and so the answer, is the same anywhere.

    Sums over several threads differ in their last bits, which float32 shows.
    """
    threads = torch.get_num_threads()
    if threads != 1:
        torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        if threads != 1:
            torch.set_num_threads(threads)
