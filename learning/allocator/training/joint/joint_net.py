"""
One network for both tiers: an encoder that every head shares, with its inputs and outputs.

An encoder of the top's kind and of a bottom's is the same perceptron over rows, their set's mean
and the market (`agents.allocator.networks`). Here they are one: the rows of the top are groups,
those of a bottom its group's instruments. A head is one linear layer: one for each bottom policy,
one for the meta-controller, one for the regime. Where the top's rows carry a sector's embedding
besides, the bottom policies use the encoder without those columns.

`SharedNet` begins as the policies of the earlier phases (`EarlierPolicies`) side by side: it
answers as they do, to the bit or two that a longer sum costs; learning decides what the heads make
of each other's units. `SharedNet.export` takes the tiers apart again. It knows no market and no
learner.

Source: Chen et al. 2016, "Net2Net: Accelerating Learning via Knowledge Transfer", a wider network
that begins with the same function; here it is wide enough for several.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.allocator.networks import BottomNet, SetEncoder, TopNet, held_actions
from agents.allocator.observation import BUDGET_UNIT, INSTRUMENT_INPUTS, MARKET_INPUTS, Observation
from agents.allocator.policy_file import ANY_GROUP, PolicyCard, load_policy
from agents.arrays import Float32Array
from config.errors import ConfigError
from learning.datasets.dataset import Dataset
from learning.envs.bottom_policies import BottomPolicies

BUDGET = INSTRUMENT_INPUTS.index("budget")
LOG_TWO_PI = math.log(2.0 * math.pi)
ENCODER, TOP, REGIME = "encoder", "top", "regime"  # parts, beside "bottom-<name>"


@dataclass(frozen=True)
class Layout:
    """
    Which instruments and groups each bottom policy places.

    Shapes: group (N,) of the instruments; `heads` names the bottom policies, each with its
    groups, and `holds` says which of them answer with a move from what is held.
    """

    group: Tensor
    groups: int
    heads: tuple[tuple[str, tuple[int, ...]], ...]
    holds: tuple[bool, ...]

    def members(self, head: int) -> Tensor:
        """Return the indexes of a head's instruments."""
        return torch.isin(self.group, torch.tensor(self.heads[head][1])).nonzero()[:, 0]

    @property
    def averages(self) -> Tensor:
        """The matrix that takes instruments to their groups' means: (G, N)."""
        one_hot = functional.one_hot(self.group, self.groups).T.float()
        return one_hot / one_hot.sum(dim=1, keepdim=True).clamp(min=1.0)


@dataclass(frozen=True)
class View:
    """
    What both tiers see at B sessions.

    Shapes: rows (B, N, I) with the groups' budgets in, means (B, G, I) of each group's rows,
    market (B, C), extra (B, G, E) the sectors' embeddings, E = 0 without.
    """

    rows: Tensor
    means: Tensor
    market: Tensor
    extra: Tensor

    @classmethod
    def joined(cls, views: Sequence[View]) -> View:
        """Return the sessions of several views in a row."""
        return cls(
            rows=torch.cat([v.rows for v in views]),
            means=torch.cat([v.means for v in views]),
            market=torch.cat([v.market for v in views]),
            extra=torch.cat([v.extra for v in views]),
        )

    def take(self, rows: Tensor) -> View:
        """Return some of the sessions."""
        return View(self.rows[rows], self.means[rows], self.market[rows], self.extra[rows])

    def with_budgets(self, budgets: Tensor, group: Tensor) -> View:
        """Return the view with what the top gave each group, fractions of equity: (B, G)."""
        rows, means = self.rows.clone(), self.means.clone()
        means[..., BUDGET] = budgets / BUDGET_UNIT
        rows[..., BUDGET] = means[..., BUDGET][:, group]
        return View(rows, means, self.market, self.extra)

    @property
    def top(self) -> Tensor:
        """The top's rows: each group's means with budget 0, and its embedding. (B, G, I + E)."""
        means = self.means.clone()
        means[..., BUDGET] = 0.0
        return torch.cat([means, self.extra], dim=-1)


def view(observation: Observation, extra: Float32Array | None, layout: Layout) -> View:
    """Return an environment's observation, budgets 0, as the networks take it."""
    rows = torch.from_numpy(observation.instruments)
    means = layout.averages @ rows
    none = means.new_zeros((*means.shape[:2], 0))
    return View(
        rows,
        means,
        torch.from_numpy(observation.market),
        none if extra is None else torch.from_numpy(extra),
    )


class SharedNet(nn.Module):
    """
    One encoder and its heads; spreads are the heads' log standard deviations of an action.

    It begins with the answers of the `earlier` phases' policies; `std` and `move_std`
    are the deviations to explore with, of levels and of moves. `parts` names what is trained
    apart: the encoder, the top's head, the regime's, each bottom's.
    """

    def __init__(self, earlier: EarlierPolicies, std: float, move_std: float) -> None:
        super().__init__()
        self.layout = earlier.layout
        nets: list[TopNet | BottomNet] = [earlier.top_net, *earlier.nets]
        self.wide = earlier.top_net.encoder.rows
        self.encoder = side_by_side([net.encoder for net in nets], self.wide)
        top, *bottom_policies = torch.split(
            torch.eye(self.encoder.width), [net.encoder.width for net in nets]
        )  # (own width, H): where each policy's codes stand among all
        self.top_head = _reading(earlier.top_net.head, top)
        self.regime_head = _reading(earlier.top_net.regime_head, top)
        self.heads = nn.ModuleList(
            _reading(net.head, place)
            for net, place in zip(earlier.nets, bottom_policies, strict=True)
        )
        stds = [move_std if holds else std for holds in self.layout.holds]
        self.spreads = nn.ParameterList(
            [nn.Parameter(torch.tensor(float(np.log(size)))) for size in stds]
        )
        self.top_spread = nn.Parameter(torch.tensor(float(np.log(std))))
        self.members = [self.layout.members(h) for h in range(len(self.layout.heads))]

    @property
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by part; they are disjoint and complete."""
        return {
            ENCODER: list(self.encoder.parameters()),
            TOP: [*self.top_head.parameters(), self.top_spread],
            REGIME: list(self.regime_head.parameters()),
            **{
                f"bottom-{name}": [*head.parameters(), spread]
                for (name, _), head, spread in zip(
                    self.layout.heads, self.heads, self.spreads, strict=True
                )
            },
        }

    def encode_top(self, view: View) -> Tensor:
        """Return the groups' codes. Shape: (B, G, H)."""
        encoded: Tensor = self.encoder(view.top, view.market)
        return encoded

    def encode_bottom(self, view: View, head: int) -> Tensor:
        """
        Return the codes of one head's instruments: (B, n, H).

        The first layer's parts for the group's mean and the market are worked out once a group.
        """
        first: nn.Linear = self.encoder.layers[0]  # type: ignore[assignment]
        widths = [self.wide, self.wide, len(MARKET_INPUTS)]
        own, mean, market = torch.split(first.weight, widths, dim=1)
        inputs = len(INSTRUMENT_INPUTS)
        around = functional.linear(view.means, mean[:, :inputs], first.bias)
        around = around + functional.linear(view.market, market).unsqueeze(1)  # (B, G, H)
        members = self.members[head]
        rows = functional.linear(view.rows[:, members], own[:, :inputs])
        code = rows + around[:, self.layout.group[members]]
        for layer in self.encoder.layers[1:]:
            code = layer(code)
        return code

    def read_top(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return the top's means and the regime's logits from the groups' codes."""
        return self.top_head(code).squeeze(-1), self.regime_head(code.mean(dim=1))

    def top(self, view: View) -> tuple[Tensor, Tensor]:
        """Return the groups' means and the regime's logits."""
        return self.read_top(self.encode_top(view))

    def bottom(self, view: View, head: int) -> Tensor:
        """Return the means of one head's instruments."""
        moves: Tensor = self.heads[head](self.encode_bottom(view, head)).squeeze(-1)
        if not self.layout.holds[head]:
            return moves
        return held_actions(view.rows[:, self.members[head]]) + moves

    def spread(self, head: int) -> Tensor:
        """Return the log deviation of a head's actions; the top is head 0."""
        return self.top_spread if head == 0 else self.spreads[head - 1]

    def log_probs(self, head: int, means: Tensor, actions: Tensor) -> Tensor:
        """Return the actions' log probabilities, summed by group: (S, groups); top: (S, 1)."""
        log_std = self.spread(head)
        each = -0.5 * ((actions - means) / log_std.exp()).square() - log_std - 0.5 * LOG_TWO_PI
        if head == 0:
            return each.sum(dim=-1, keepdim=True)
        groups = self.layout.group[self.members[head - 1]]
        own = self.layout.heads[head - 1][1]
        if len(own) == 1:
            return each.sum(dim=-1, keepdim=True)
        return each @ functional.one_hot(groups, self.layout.groups).float()[:, list(own)]

    def export(self) -> tuple[TopNet, list[BottomNet]]:
        """Return the tiers as the trading side loads them."""
        hidden, inputs = self.encoder.hidden, len(INSTRUMENT_INPUTS)
        top = TopNet(self.wide, len(MARKET_INPUTS), hidden)
        top.encoder.load_state_dict(self.encoder.state_dict())
        top.head.load_state_dict(self.top_head.state_dict())
        top.regime_head.load_state_dict(self.regime_head.state_dict())
        state = self.encoder.state_dict()
        own, mean, market = state["layers.0.weight"].split(
            [self.wide, self.wide, len(MARKET_INPUTS)], dim=1
        )
        state["layers.0.weight"] = torch.cat([own[:, :inputs], mean[:, :inputs], market], dim=1)
        bottom_policies = []
        for head, holds in zip(self.heads, self.layout.holds, strict=True):
            bottom = BottomNet(inputs, len(MARKET_INPUTS), hidden, holds=holds)
            bottom.encoder.load_state_dict(state)
            bottom.head.load_state_dict(head.state_dict())
            bottom_policies.append(bottom)
        return top, bottom_policies


class EarlierPolicies:
    """
    The frozen policies of the earlier phases, with the cards that they came with.

    Raises ConfigError where they do not fit each other or the book.
    """

    def __init__(self, dataset: Dataset, top: Path, bottom_policies: Mapping[str, Path]) -> None:
        self.top_folder = top
        self.top_net, self.top_card = _load(top, TopNet)
        loaded = {
            name: _load(folder, BottomNet) for name, folder in sorted(bottom_policies.items())
        }
        self.nets = [net for net, _ in loaded.values()]
        self.cards = [card for _, card in loaded.values()]
        for card in (self.top_card, *self.cards):
            if len(card.hidden) != len(self.top_card.hidden):
                raise ConfigError(
                    f"expected {len(self.top_card.hidden)} hidden layers in {card.name!r}, "
                    f"was {len(card.hidden)}"
                )
            if card.normaliser != self.top_card.normaliser:
                raise ConfigError(
                    f"expected one normaliser in all policies, was another in {card.name!r}"
                )
        if self.top_card.groups != dataset.groups:
            raise ConfigError(
                f"expected a top policy of {dataset.groups}, was {self.top_card.groups}"
            )
        names = [card.group for card in self.cards]
        wanted = [ANY_GROUP] if names == [ANY_GROUP] else list(dataset.groups)
        if names != wanted:
            raise ConfigError(f"expected a bottom policy for {', '.join(wanted)}, was {names}")
        everyone = tuple(range(len(dataset.groups)))
        self.layout = Layout(
            group=torch.tensor(dataset.group),
            groups=len(dataset.groups),
            heads=tuple(
                (name, everyone if name == ANY_GROUP else (dataset.groups.index(name),))
                for name in names
            ),
            holds=tuple(card.holds for card in self.cards),
        )

    def placing(self, dataset: Dataset) -> BottomPolicies:
        """Return the bottom policies for an evaluation."""
        return bottom_policies_by_group(dataset, self.layout, self.nets)

    @property
    def digests(self) -> list[str]:
        """What a resumed run must have started from too."""
        return [card.digest for card in (self.top_card, *self.cards)]


def side_by_side(encoders: Sequence[SetEncoder], rows: int) -> SetEncoder:
    """
    Return an encoder whose code is that of all the encoders, one after the other.

    Each keeps its units; between the units of different ones the weights begin at 0. An encoder
    of fewer row inputs than `rows` knows the first ones. Raises ValueError where they see
    markets of another size or are not as deep.
    """
    first = encoders[0]
    if {(e.market, len(e.hidden)) for e in encoders} != {(first.market, len(first.hidden))}:
        raise ValueError("expected encoders of one depth and one market, was several")
    hidden = [sum(sizes) for sizes in zip(*(e.hidden for e in encoders), strict=True)]
    joined = SetEncoder(rows, first.market, hidden)
    for at, layer in enumerate(joined.layers):
        if isinstance(layer, nn.Linear):
            parts: list[nn.Linear] = [e.layers[at] for e in encoders]  # type: ignore[misc]
            weights = [part.weight for part in parts]
            if at == 0:
                weight = torch.cat(
                    [_spaced(w, rows, e) for w, e in zip(weights, encoders, strict=True)]
                )
            else:
                weight = torch.block_diag(*weights)  # type: ignore[no-untyped-call]
            layer.load_state_dict(
                {"weight": weight, "bias": torch.cat([part.bias for part in parts])}
            )
    return joined


def _spaced(weight: Tensor, rows: int, encoder: SetEncoder) -> Tensor:
    """Return a first layer's weights with room for `rows` inputs of a row and of the mean."""
    own, mean, market = torch.split(weight, [encoder.rows, encoder.rows, encoder.market], dim=1)
    room = (0, rows - encoder.rows)
    return torch.cat([functional.pad(own, room), functional.pad(mean, room), market], dim=1)


def _reading(head: nn.Linear, place: Tensor) -> nn.Linear:
    """Return a policy's last layer that reads its codes out of all. Shape: place (own, H)."""
    layer = nn.Linear(place.shape[1], head.out_features)
    layer.load_state_dict({"weight": head.weight @ place, "bias": head.bias})
    return layer


def bottom_policies_by_group(
    dataset: Dataset, layout: Layout, nets: Sequence[BottomNet]
) -> BottomPolicies:
    """Return bottom policies by the groups that they place."""
    return BottomPolicies(
        dataset,
        {
            dataset.groups[group]: net
            for net, (_, groups) in zip(nets, layout.heads, strict=True)
            for group in groups
        },
    )


def trained_card(
    card: PolicyCard, *, hidden: tuple[int, ...], steps: int, seed: int
) -> PolicyCard:
    """Return an earlier phase's card as that of the jointly trained policy."""
    trained = msgspec.structs.replace(card.trained, steps=card.trained.steps + steps, seed=seed)
    return msgspec.structs.replace(
        card, name=f"joint-{card.slot}", hidden=hidden, trained=trained, files={}
    )


def _load[T: (TopNet, BottomNet)](folder: Path, kind: type[T]) -> tuple[T, PolicyCard]:
    net, card = load_policy(folder)
    if not isinstance(net, kind):
        raise ConfigError(f"expected a {kind.__name__} in {folder}, was a {card.kind} policy")
    return net, card
