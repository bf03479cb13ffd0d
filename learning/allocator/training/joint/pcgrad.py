"""
Projection of conflicting gradients, for an encoder that several heads share.

Source: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", Alg. 1 (PCGrad). Each task's
gradient loses, against every other task in random order, its component along that task's own
gradient wherever the two conflict (their inner product is negative); the results are summed. The
paper sums them, and so does this. It knows no network: gradients are rows of one matrix.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

TINY = 1e-30  # below it a gradient has no direction


def project_conflicts(gradients: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
    """
    Return the sum of the projected gradients, and the share of pairs that conflicted.

    The share is counted on the given gradients. The generator orders the others for each task.
    Shapes: gradients (K, P) -> (P,).
    """
    count = len(gradients)
    norms = gradients.square().sum(dim=1)
    projected = gradients.clone()
    for i in range(count):
        others = rng.permutation([j for j in range(count) if j != i])
        for j in others.tolist():
            dot = projected[i] @ gradients[j]
            if dot < 0.0 and norms[j] > TINY:
                projected[i] -= (dot / norms[j]) * gradients[j]
    return projected.sum(dim=0), conflict_share(gradients)


def conflict_share(gradients: Tensor) -> float:
    """Return the share of pairs of gradients that point against each other. Shape: (K, P)."""
    count = len(gradients)
    if count < 2:
        return 0.0
    products = gradients @ gradients.T
    above = torch.triu_indices(count, count, offset=1)
    return float((products[above[0], above[1]] < 0.0).float().mean())


def flat(gradients: Sequence[Tensor]) -> Tensor:
    """Return one task's gradients as one row."""
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


def unflat(row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return a row as gradients of the shapes of `like`."""
    pieces = torch.split(row, [parameter.numel() for parameter in like])
    return [piece.reshape(parameter.shape) for piece, parameter in zip(pieces, like, strict=True)]
