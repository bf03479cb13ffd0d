"""
How sure the learner is: the precision behind the exploration bonus.

One matrix A = lambda I + sum phi phiᵀ, kept as its inverse by Sherman-Morrison, whole or only its
diagonal. Over the last hidden layer's features it is NeuralLinear's (Riquelme, Tucker & Snoek
2018), over the gradient of all parameters NeuralUCB's (Zhou, Li & Gu 2020, Algorithm 1; its
diagonal is what the paper's experiments use). It knows no reward: a width here has no unit.
"""

from __future__ import annotations

import numpy as np

from agents.protocols import FloatArray


def sherman_morrison(inverse: FloatArray, x: FloatArray) -> None:
    """
    Turn the inverse of A into that of A + x xᵀ, in place.

    Shapes: inverse (P, P), symmetric; x (P,).
    """
    ax = inverse @ x
    inverse -= np.outer(ax, ax / (1.0 + x @ ax))


class Precision:
    """
    The inverse of the precision over P features.

    Shapes: `inverse` (P, P), or (P,) when diagonal.
    """

    def __init__(self, size: int, regularisation: float, *, diagonal: bool) -> None:
        self.regularisation = regularisation
        self.inverse = (np.ones(size) if diagonal else np.eye(size)) / regularisation

    def width(self, features: FloatArray) -> FloatArray:
        """Return sqrt(phiᵀ A⁻¹ phi) of every row; shapes: (M, P) -> (M,)."""
        if self.inverse.ndim == 1:
            return np.asarray(np.sqrt(features**2 @ self.inverse))
        return np.asarray(np.sqrt(np.einsum("mp,mp->m", features @ self.inverse, features)))

    def add(self, features: FloatArray) -> None:
        """Take in one observation; shapes: features (P,)."""
        if self.inverse.ndim == 1:
            self.inverse /= 1.0 + features**2 * self.inverse
        else:
            sherman_morrison(self.inverse, features)

    def rebuild(self, gram: FloatArray) -> None:
        """Start again from the sum of phi phiᵀ over the memory; shapes: gram (P, P)."""
        inverse = np.linalg.inv(gram + self.regularisation * np.eye(len(gram)))
        self.inverse = (inverse + inverse.T) / 2.0
