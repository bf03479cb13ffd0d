"""
Frozen bottom policies that turn a top policy's budgets into weights, many books at once.

It knows no top policy and no market mechanics.
"""

from collections.abc import Mapping

import numpy as np
import torch

from agents.allocator.networks import BottomNet
from agents.allocator.observation import assemble, bottom_shares
from agents.arrays import BoolArray, Float32Array, FloatArray
from learning.datasets.dataset import Dataset


class BottomPolicies:
    """
    Frozen bottom policies of all groups: they share each group's budget among its instruments.

    Raises ValueError where a group has no policy.
    """

    def __init__(self, dataset: Dataset, nets: Mapping[str, BottomNet]) -> None:
        missing = [group for group in dataset.groups if group not in nets]
        if missing:
            raise ValueError(f"expected a policy for each group, was none for {missing[0]!r}")
        self._shortable, self._group = dataset.shortable, dataset.group
        self._members = [
            (np.flatnonzero(dataset.group == g), nets[name].eval())
            for g, name in enumerate(dataset.groups)
        ]

    def place(
        self,
        features: Float32Array,
        macro: Float32Array,
        weights: FloatArray,
        drawdown: FloatArray,
        budgets: FloatArray,
        listed: BoolArray | bool = True,
    ) -> FloatArray:
        """
        Return target weights (B, N), 0 for what is not listed.

        Shapes: features (B, N, 22) and macro (B, 18), normalised; weights, listed (B, N),
        drawdown (B,), budgets (B, G).
        """
        there = np.broadcast_to(listed, weights.shape)
        own = budgets[:, self._group]
        seen = assemble(features, macro, weights, self._shortable, own, drawdown)
        market = torch.from_numpy(seen.market)
        placed = np.zeros_like(weights)
        for members, net in self._members:
            with torch.no_grad():
                action = net(torch.from_numpy(seen.instruments[:, members]), market).numpy()
            shares = bottom_shares(action, self._shortable[members], there[:, members])
            placed[:, members] = own[:, members] * shares
        return placed
