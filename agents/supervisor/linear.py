"""
Regresses the reward on the encoded (context, route) by Bayesian ridge, next to the network.

Where rewards are mostly noise a network fits the noise, and 51 coefficients predict better; where
rewards are clear the network does. So NeuralUCB keeps both. `Trust` weighs the network by how well
each of the two predicted every reward before it learned from it: Bayesian model averaging by
predictive likelihood (Dawid 1984, prequential). The ridge's strength is the one of a grid with the
highest evidence (MacKay 1992), at most STRONGEST: without a bound, noise can shrink every effect
to nothing, and all exploration with it. This file knows no arms.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray
from agents.supervisor.reward_network import INPUTS, STRETCH

STRONGEST = 10.0
STRENGTHS = np.geomspace(0.01, STRONGEST, 13)


class Line:
    """Reward as a weighted sum of the encoded input, with the posterior's covariance."""

    def __init__(self) -> None:
        self._gram = np.zeros((INPUTS, INPUTS))
        self._response = np.zeros(INPUTS)
        self._totals = np.zeros(2)  # outcomes, sum of squared rewards
        self._weights = np.zeros(INPUTS)
        self._covariance = np.eye(INPUTS)

    def predict(self, encoded: FloatArray) -> FloatArray:
        """Return expected rewards; shapes: encoded (M, 51) -> (M,)."""
        return np.asarray(encoded / STRETCH @ self._weights)

    def width(self, encoded: FloatArray) -> FloatArray:
        """Return the standard errors of `predict`, in reward units; shapes: (M, 51) -> (M,)."""
        x = encoded / STRETCH
        return np.asarray(np.sqrt(np.einsum("mp,mp->m", x @ self._covariance, x)))

    def add(self, encoded: FloatArray, rewards: FloatArray) -> None:
        """Take in outcomes; they count from the next `fit` on. Shapes: (M, 51), (M,)."""
        x = encoded / STRETCH
        self._gram += x.T @ x
        self._response += x.T @ rewards
        self._totals += (len(rewards), float(rewards @ rewards))

    def fit(self) -> None:
        """Set weights and covariance by the strength of the ridge that has most evidence."""
        count, squares = self._totals
        values, vectors = np.linalg.eigh(self._gram)
        values = np.maximum(values, 0.0)
        rotated = vectors.T @ self._response
        shrunk = values + STRENGTHS[:, None]  # (S, 51)
        noise = np.maximum(squares - (rotated**2 / shrunk).sum(axis=1), 1e-12) / count
        evidence = np.log(STRENGTHS[:, None] / shrunk).sum(axis=1) - count * np.log(noise)
        best = int(np.argmax(evidence))
        self._weights = vectors @ (rotated / shrunk[best])
        self._covariance = noise[best] * (vectors / shrunk[best]) @ vectors.T

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that was learned, by name."""
        return {
            "line.gram": self._gram,
            "line.response": self._response,
            "line.totals": self._totals,
            "line.weights": self._weights,
            "line.covariance": self._covariance,
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state. Raises ValueError where it has another shape."""
        for name, mine in self.state().items():
            if arrays[name].shape != mine.shape:
                raise ValueError(f"{name} of shape {arrays[name].shape}")
            mine[...] = arrays[name]


class Trust:
    """How far the net is believed, from how well line and net foretold each reward."""

    def __init__(self) -> None:
        self.seen = np.zeros(4)  # outcomes, squared errors: the line's, the net's, the better's

    def score(self, rewards: FloatArray, line: FloatArray, net: FloatArray) -> None:
        """Count how far each was off; shapes: (M,) each."""
        errors = np.stack([(rewards - line) ** 2, (rewards - net) ** 2])
        self.seen += (len(rewards), *errors.sum(axis=1), errors.min(axis=0).sum())

    @property
    def net(self) -> float:
        """The net's weight in the mixture, 0..1; one half before anything was foretold."""
        count, line, net, noise = self.seen
        if count == 0 or noise == 0.0:
            return 0.5
        odds = (net - line) / (2.0 * noise / count)
        return float(1.0 / (1.0 + np.exp(np.clip(odds, -700.0, 700.0))))
