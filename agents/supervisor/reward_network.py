"""
The reward network: an encoded (context, route) -> hidden -> hidden -> one number, ReLU.

NeuralUCB gives each arm a block of the input and puts the context there. Here a block belongs to
a junior, and a route fills the blocks of the juniors that it asks: what is learned of a junior
from one route serves the other routes that ask it; seven outputs or seven blocks would each learn
it alone. Forward pass, gradient and Adam are written out in NumPy: a net this small spends
more time in a framework's dispatch than in arithmetic. It trains in float32, which is twice as
fast as float64, and selects in float64. Tests hold its steps to torch's. It knows no bandit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.arrays import Float32Array, FloatArray
from agents.messages import JUNIORS
from agents.supervisor.routing import ASKED, CONTEXT_SIZE

INPUTS = len(JUNIORS) * (CONTEXT_SIZE + 1)
CENTRE, STRETCH = 0.5, 4.0  # contexts lie in 0..1; nets learn fastest on numbers around +-1


def encode(contexts: FloatArray, arms: Sequence[int] | NDArray[np.int64]) -> FloatArray:
    """
    Return each context with a constant, copied into the blocks of the juniors its route asks.

    Shapes: contexts (M, 16), arms (M,) -> (M, 51).
    """
    x = np.concatenate([STRETCH * (contexts - CENTRE), np.ones((len(contexts), 1))], axis=1)
    return np.asarray(
        (ASKED[np.asarray(arms)][:, :, None] * x[:, None, :]).reshape(len(x), INPUTS)
    )


class Weights[F: np.floating[Any]](NamedTuple):
    """The layers' weights, or anything of their shapes; `w` are (out, in), `b` (out,)."""

    w1: NDArray[F]
    b1: NDArray[F]
    w2: NDArray[F]
    b2: NDArray[F]
    w3: NDArray[F]
    b3: NDArray[F]

    @classmethod
    def views(cls, flat: NDArray[F], hidden: int) -> Weights[F]:
        """Return the layers of a flat array, without a copy; shapes: flat (P,)."""
        shapes = ((hidden, INPUTS), (hidden,), (hidden, hidden), (hidden,), (1, hidden), (1,))
        pieces = np.split(flat, np.cumsum([prod(shape) for shape in shapes])[:-1])
        return cls(*(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)))

    def as_float64(self) -> Weights[np.float64]:
        """Return a copy in float64."""
        return Weights(*(layer.astype(np.float64) for layer in self))

    def hidden(self, encoded: NDArray[F]) -> tuple[NDArray[F], NDArray[F]]:
        """Return both hidden layers; shapes: encoded (M, 51) -> (M, hidden) twice."""
        first = encoded @ self.w1.T
        first += self.b1
        np.maximum(first, 0.0, out=first)
        last = first @ self.w2.T
        last += self.b2
        np.maximum(last, 0.0, out=last)
        return first, last

    def predict(self, last_hidden: NDArray[F]) -> NDArray[F]:
        """Return standardised rewards; shapes: last_hidden (M, hidden) -> (M,)."""
        return np.asarray(last_hidden @ self.w3[0] + self.b3)

    def gradients(self, encoded: NDArray[F]) -> NDArray[F]:
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


class Adam:
    """
    Adam over one flat array of parameters, in place.

    Source: Kingma & Ba 2015, Algorithm 1, with their constants. The bias corrections are folded
    into the step's length and into epsilon, which saves a pass over the array.
    Shapes: `mean` and `square`, the moments of the gradient, (P,).
    """

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, parameters: Float32Array, lr: float) -> None:
        self.lr = lr
        self.steps = 0
        self.mean = np.zeros_like(parameters)
        self.square = np.zeros_like(parameters)
        self._scratch = np.empty_like(parameters)

    def step(self, parameters: Float32Array, gradient: Float32Array) -> None:
        """Move the parameters against the gradient; shapes: (P,) each."""
        self.steps += 1
        mean, square, scratch = self.mean, self.square, self._scratch
        mean *= self.BETA1
        np.multiply(gradient, 1.0 - self.BETA1, out=scratch)
        mean += scratch
        square *= self.BETA2
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1.0 - self.BETA2
        square += scratch
        root = sqrt(1.0 - self.BETA2**self.steps)
        np.sqrt(square, out=scratch)
        scratch += self.EPSILON * root
        np.divide(mean, scratch, out=scratch)
        scratch *= self.lr * root / (1.0 - self.BETA1**self.steps)
        parameters -= scratch


class RewardNet:
    """
    Predicts the standardised reward of a route in a context, and learns to.

    Hidden layers start as He et al. 2015 from the given generator; the head starts at zero, so
    that a fresh net expects the same of every route and only uncertainty tells them apart.
    Shapes: `parameters` (P,), all layers one after the other, `weights` are views into it.
    """

    def __init__(self, hidden: int, generator: np.random.Generator) -> None:
        size = hidden * (INPUTS + 1) + hidden * (hidden + 1) + hidden + 1
        self.parameters = np.zeros(size, dtype=np.float32)
        self.weights = Weights.views(self.parameters, hidden)
        for layer in (self.weights.w1, self.weights.w2):
            layer[...] = generator.normal(0.0, np.sqrt(2.0 / layer.shape[1]), layer.shape)
        self._gradient = np.zeros_like(self.parameters)
        self._slopes = Weights.views(self._gradient, hidden)

    def step(
        self,
        optimiser: Adam,
        encoded: Float32Array,
        rewards: Float32Array,
        weights: Float32Array | None = None,
    ) -> float:
        """
        Take one step down the (weighted) mean squared error and return what it was.

        Shapes: encoded (B, 51); rewards, standardised, and weights (B,).
        """
        w, slopes = self.weights, self._slopes
        first, last = w.hidden(encoded)
        error = w.predict(last) - rewards
        weighed = error if weights is None else weights * error
        loss = float(weighed @ error) / len(error)

        at_head = weighed * np.float32(2.0 / len(error))  # (B,)
        np.matmul(at_head, last, out=slopes.w3[0])
        slopes.b3[0] = at_head.sum()
        at_last = at_head[:, None] * w.w3  # (B, hidden)
        at_last *= last > 0.0
        np.matmul(at_last.T, first, out=slopes.w2)
        np.add.reduce(at_last, axis=0, out=slopes.b2)
        at_first = at_last @ w.w2
        at_first *= first > 0.0
        np.matmul(at_first.T, encoded, out=slopes.w1)
        np.add.reduce(at_first, axis=0, out=slopes.b1)
        optimiser.step(self.parameters, self._gradient)
        return loss
