"""
Keeps the precision matrices that the exploration bonus is computed from.

A = lambda I + sum phi phiᵀ, kept as its inverse by Sherman-Morrison, whole or only its diagonal.
Over the last hidden layer's features, with a matrix an arm, it is NeuralLinear's (Riquelme,
Tucker & Snoek 2018); over the gradient of all parameters, one matrix for all arms, NeuralUCB's
(Zhou, Li & Gu 2020, Algorithm 1; its diagonal is what the paper's experiments use).
It knows no reward, so that a width has no unit.
"""

import numpy as np
from scipy.linalg.blas import dger

from agents.arrays import FloatArray


def sherman_morrison(inverse: FloatArray, x: FloatArray) -> None:
    """
    Turn the inverse of A into that of A + x xᵀ, in place.

    Shapes: inverse (P, P), symmetric and in C order; x (P,).
    """
    ax = inverse @ x
    dger(-1.0 / (1.0 + float(x @ ax)), ax, ax, a=inverse.T, overwrite_a=True)


class Precision:
    """
    The inverses of G groups' precisions over P features.

    Shapes: `inverse` (G, P, P), or (G, P) when diagonal.
    """

    def __init__(self, groups: int, size: int, regularisation: float, *, diagonal: bool) -> None:
        self.regularisation = regularisation
        one = np.ones(size) if diagonal else np.eye(size)
        self.inverse = np.stack([one / regularisation] * groups)

    def width(self, features: FloatArray) -> FloatArray:
        """Return sqrt(phiᵀ A⁻¹ phi) of every row; shapes: (G, M, P) -> (G, M)."""
        if self.inverse.ndim == 2:
            return np.asarray(np.sqrt(np.einsum("gmp,gp->gm", features**2, self.inverse)))
        projected = np.matmul(features, self.inverse)
        return np.asarray(np.sqrt(np.einsum("gmp,gmp->gm", projected, features)))

    def add(self, group: int, features: FloatArray) -> None:
        """Take in one observation of a group; shapes: features (P,)."""
        inverse = self.inverse[group]
        if inverse.ndim == 1:
            inverse /= 1.0 + features**2 * inverse
        else:
            sherman_morrison(inverse, features)

    def rebuild(self, grams: FloatArray) -> None:
        """Start again from each group's sum of phi phiᵀ; shapes: grams (G, P, P)."""
        inverse = np.linalg.inv(grams + self.regularisation * np.eye(grams.shape[-1]))
        self.inverse = (inverse + inverse.transpose(0, 2, 1)) / 2.0
