"""
The reward network: an encoded (context, route) -> hidden -> hidden -> one number, ReLU.

NeuralUCB gives each arm a block of the input and puts the context there. Here a block belongs to
a junior, and a route fills the blocks of the juniors that it asks: what one route teaches of a
junior serves the other routes that ask it, which seven outputs or seven blocks would each have
to learn alone. The weights live in torch, which trains them; the forward pass and the gradients
that selection needs are written out in NumPy, because torch spends more on dispatching one
decision than on its arithmetic. Tests hold the two equal. It knows no bandit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.messages import JUNIORS, ROUTES
from agents.protocols import FloatArray
from agents.supervisor.routing import CONTEXT_SIZE

ASKED = np.array([[name in route for name in JUNIORS] for route in ROUTES], dtype=np.float64)
INPUTS = len(JUNIORS) * (CONTEXT_SIZE + 1)
CENTRE, STRETCH = 0.5, 4.0  # contexts lie in 0..1; nets learn fastest on numbers around +-1
LAYERS = ("w1", "b1", "w2", "b2", "w3", "b3")


def encode(contexts: FloatArray, arms: Sequence[int] | NDArray[np.int64]) -> FloatArray:
    """
    Return each context with a constant, copied into the blocks of the juniors its route asks.

    Shapes: contexts (M, 16), arms (M,) -> (M, 51).
    """
    x = np.concatenate([STRETCH * (contexts - CENTRE), np.ones((len(contexts), 1))], axis=1)
    return np.asarray(
        (ASKED[np.asarray(arms)][:, :, None] * x[:, None, :]).reshape(len(x), INPUTS)
    )


class RewardNet(nn.Module):
    """
    Predicts the standardised reward of a route in a context.

    Torch's own initial weights, which come from its ambient generator, are all replaced: hidden
    layers start as He et al. 2015 from the given generator; the head starts at zero, so
    that a fresh net expects the same of every route and only uncertainty tells them apart.
    """

    def __init__(self, hidden: int, generator: np.random.Generator) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(INPUTS, hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.head = nn.Linear(hidden, 1)
        with torch.no_grad():
            for layer in (self.hidden1, self.hidden2):
                scale = np.sqrt(2.0 / layer.in_features)
                values = generator.normal(0.0, scale, (layer.out_features, layer.in_features))
                layer.weight.copy_(torch.from_numpy(values))
                layer.bias.zero_()
            self.head.weight.zero_()
            self.head.bias.zero_()

    def features(self, encoded: Tensor) -> Tensor:
        """Return the last hidden layer; shapes: encoded (M, 51) -> (M, hidden)."""
        return torch.relu(self.hidden2(torch.relu(self.hidden1(encoded))))

    def forward(self, encoded: Tensor) -> Tensor:
        """Shapes: encoded (M, 51) -> (M,)."""
        predicted: Tensor = self.head(self.features(encoded))[:, 0]
        return predicted

    def step(
        self,
        optimiser: torch.optim.Optimizer,
        encoded: Tensor,
        rewards: Tensor,
        weights: Tensor | None = None,
    ) -> float:
        """
        Take one step down the (weighted) mean squared error and return what it was.

        Shapes: encoded (B, 51); rewards, standardised, and weights (B,).
        """
        optimiser.zero_grad()
        error = torch.square(self(encoded) - rewards)
        loss = error.mean() if weights is None else (weights * error).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.item()


@dataclass(frozen=True)
class Weights:
    """The network's weights in float64 NumPy, for selection; `w` are (out, in)."""

    w1: FloatArray
    b1: FloatArray
    w2: FloatArray
    b2: FloatArray
    w3: FloatArray
    b3: FloatArray

    @classmethod
    def of(cls, net: RewardNet) -> Weights:
        """Return a copy of a network's weights."""
        return cls(*(p.detach().numpy().astype(np.float64) for p in net.parameters()))

    def hidden(self, encoded: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return both hidden layers; shapes: encoded (M, 51) -> (M, hidden) twice."""
        first = np.maximum(encoded @ self.w1.T + self.b1, 0.0)
        return first, np.maximum(first @ self.w2.T + self.b2, 0.0)

    def predict(self, last_hidden: FloatArray) -> FloatArray:
        """Return standardised rewards; shapes: last_hidden (M, hidden) -> (M,)."""
        return np.asarray(last_hidden @ self.w3[0] + self.b3)

    def gradients(self, encoded: FloatArray) -> FloatArray:
        """
        Return the gradient of each output by all parameters, in the net's order.

        Shapes: encoded (M, 51) -> (M, P).
        """
        first, last = self.hidden(encoded)
        at_last = self.w3 * (last > 0)  # (M, hidden)
        at_first = (at_last @ self.w2) * (first > 0)
        rows = len(encoded)
        return np.concatenate(
            [
                (at_first[:, :, None] * encoded[:, None, :]).reshape(rows, -1),
                at_first,
                (at_last[:, :, None] * first[:, None, :]).reshape(rows, -1),
                at_last,
                last,
                np.ones((rows, 1)),
            ],
            axis=1,
        )
