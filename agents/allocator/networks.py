"""
The allocator's networks: plain torch, float32, the same for training and for trading.

Both tiers are one perceptron, shared by all rows of a set (a group's instruments, a book's
groups); its inputs are the row's own, the set's mean and the market. They take any number
of rows, and a permutation of the rows permutes the answer and nothing else.

Source: Zaheer et al. 2017, "Deep Sets", its equivariant layer, taken once at the input: the mean
of the inputs stands beside each row instead of a learned map of it in every layer.
They know no optimiser and no file, and of an observation's meaning only what is held.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agents.allocator.observation import BUDGET_UNIT, INSTRUMENT_INPUTS, WEIGHT_UNIT
from agents.messages import Regime

HIDDEN: tuple[int, ...] = (64, 64)
WEIGHT_INPUT = INSTRUMENT_INPUTS.index("weight")
SHORTABLE_INPUT = INSTRUMENT_INPUTS.index("shortable")
BUDGET_INPUT = INSTRUMENT_INPUTS.index("budget")
EMBEDDING = 64  # numbers of a sector's embedding, appended to the group's inputs
LOGIT_REGIMES: tuple[Regime, ...] = ("bull", "bear", "sideways")  # of TopNet's logits


class SetEncoder(nn.Module):
    """
    Encode each row of a set beside the set's mean and the market.

    Shapes: rows (B, n, D), market (B, C) -> (B, n, hidden[-1]).
    """

    def __init__(self, rows: int, market: int, hidden: Sequence[int] = HIDDEN) -> None:
        super().__init__()
        self.rows, self.market, self.hidden = rows, market, tuple(hidden)
        layers: list[nn.Module] = []
        width = 2 * rows + market
        for size in hidden:
            layers += [_linear(width, size, math.sqrt(2.0)), nn.Tanh()]
            width = size
        self.layers = nn.Sequential(*layers)
        self.width = width

    def forward(self, rows: Tensor, market: Tensor) -> Tensor:
        """Return each row's code."""
        around = torch.cat([rows.mean(dim=1), market], dim=-1)  # (B, D + C)
        around = around.unsqueeze(1).expand(-1, rows.shape[1], -1)
        encoded: Tensor = self.layers(torch.cat([rows, around], dim=-1))
        return encoded


class BottomNet(nn.Module):
    """
    Place a group's budget: one action mean for each of its instruments.

    With `holds` the network says how far to move from what is held, and an answer of 0 trades
    nothing (`held_actions`): where a trade costs more than a session can earn, a policy of levels
    learns to do nothing, and one of moves learns when a move is worth its cost.

    Shapes: instruments (B, n, I), market (B, C) -> (B, n); the caller bounds them to [-1, 1].
    """

    def __init__(
        self, rows: int, market: int, hidden: Sequence[int] = HIDDEN, *, holds: bool = False
    ) -> None:
        super().__init__()
        self.holds = holds
        self.encoder = SetEncoder(rows, market, hidden)
        self.head = _linear(self.encoder.width, 1, 0.01)

    def encode(self, instruments: Tensor, market: Tensor) -> Tensor:
        """Return each instrument's code. Shape: (B, n, H)."""
        encoded: Tensor = self.encoder(instruments, market)
        return encoded

    def forward(self, instruments: Tensor, market: Tensor) -> Tensor:
        """Return the action means."""
        means: Tensor = self.head(self.encode(instruments, market)).squeeze(-1)
        return held_actions(instruments) + means if self.holds else means


def held_actions(instruments: Tensor) -> Tensor:
    """Return the actions that ask for what is held of the budget. (..., I) -> (...), -1..1."""
    weight = instruments[..., WEIGHT_INPUT] * WEIGHT_UNIT
    budget = instruments[..., BUDGET_INPUT] * BUDGET_UNIT
    share = (weight / budget.clamp(min=1e-6)).clamp(-1.0, 1.0)
    return torch.where(instruments[..., SHORTABLE_INPUT] > 0.0, share, 2.0 * share - 1.0)


class TopNet(nn.Module):
    """
    Share capital among groups: one action mean a group, and what regime it takes this to be.

    Shapes: groups (B, G, D), market (B, C) -> (B, G) and logits (B, 3) over `LOGIT_REGIMES`.
    """

    def __init__(self, rows: int, market: int, hidden: Sequence[int] = HIDDEN) -> None:
        super().__init__()
        self.encoder = SetEncoder(rows, market, hidden)
        self.head = _linear(self.encoder.width, 1, 0.01)
        self.regime_head = _linear(self.encoder.width, len(LOGIT_REGIMES), 0.01)

    def encode(self, groups: Tensor, market: Tensor) -> Tensor:
        """Return each group's code. Shape: (B, G, H)."""
        encoded: Tensor = self.encoder(groups, market)
        return encoded

    def regimes(self, encoded: Tensor) -> Tensor:
        """Return the regime's logits, from the groups' mean code. Shapes: (B, G, H) -> (B, 3)."""
        logits: Tensor = self.regime_head(encoded.mean(dim=1))
        return logits

    def forward(self, groups: Tensor, market: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action means and the regime's logits."""
        encoded = self.encode(groups, market)
        means: Tensor = self.head(encoded)
        return means.squeeze(-1), self.regimes(encoded)


def _linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """Return an orthogonal layer (Saxe et al. 2014), by torch's own generator."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
