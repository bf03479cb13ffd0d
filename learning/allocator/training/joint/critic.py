"""
The joint phase's critic: one value of the whole book for all heads alike.

It knows no policy and no reward.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from agents.allocator.networks import SetEncoder
from learning.allocator.training.joint.joint_net import View


class Critic(nn.Module):
    """The value of a book at a session: (B,)."""

    def __init__(self, rows: int, market: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.encoder = SetEncoder(rows, market, hidden)
        self.value = nn.Linear(self.encoder.width, 1)

    def forward(self, seen: View) -> Tensor:
        """Return the values."""
        value: Tensor = self.value(self.encoder(seen.top, seen.market).mean(dim=1))
        return value.squeeze(-1)
