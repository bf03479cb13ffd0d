"""
Attention over packed tokens: one pass takes any number of new tokens of each row, no padding.

Row b's token at position p is kept in column p of row b, so a row's column is its position, what
is not yet written lies behind every query, and rows of unlike length share a pass: the linear
layers see the tokens of all rows end to end, and only attention pads its queries. It is
registered with transformers as an attention implementation; it knows no text, and only models
whose layers all attend to everything before them.

Departs from transformers' caches, which append a column to all rows and copy themselves to do so,
and which repeat keys and values for grouped queries: here the groups are queries of one head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PretrainedConfig

PACKED = "quarterdeck_packed"


class KeyValues:
    """Keys and values of all layers and rows: (layers, rows, heads, columns, head size)."""

    def __init__(
        self, config: PretrainedConfig, rows: int, columns: int, dtype: torch.dtype
    ) -> None:
        heads = config.num_key_value_heads
        size = getattr(config, "head_dim", None)
        size = size or config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, rows, heads, columns, size)
        self.groups: int = config.num_attention_heads // heads
        self.keys = torch.zeros(shape, dtype=dtype)  # zeros: pages come when they are written
        self.values = torch.zeros(shape, dtype=dtype)

    def put(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Begin a row with what was computed before: each (layers, heads, columns, size)."""
        self.keys[:, row, :, : keys.shape[2]] = keys
        self.values[:, row, :, : values.shape[2]] = values

    def take(self, row: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a copy of a row's first columns."""
        return (
            self.keys[:, row, :, :columns].clone(),
            self.values[:, row, :, :columns].clone(),
        )

    def move(self, source: int, target: int, columns: int) -> None:
        """Overwrite a finished row by another."""
        self.put(target, self.keys[:, source, :, :columns], self.values[:, source, :, :columns])


@dataclass(frozen=True)
class Pass:
    """
    Which new tokens belong to which row, for all layers of one forward pass.

    Shapes: N tokens in all, R rows, T the most new tokens of a row, C columns in sight.
    """

    cache: KeyValues
    rows: torch.Tensor  # (N,) of each token
    positions: torch.Tensor  # (N,)
    steps: torch.Tensor | None  # (N,) of each token among its row's new ones; None: T is N / R
    first: int  # the rows are first .. first + R
    shape: tuple[int, int, int]  # R, T, C
    mask: torch.Tensor  # (R, 1, G T, C) for G queries of a head of keys, 0 or -inf


def plan(cache: KeyValues, first: int, starts: Sequence[int], counts: Sequence[int]) -> Pass:
    """Return the pass in which row first + k gets counts[k] new tokens from starts[k] on."""
    many, columns = max(counts), max(s + c for s, c in zip(starts, counts, strict=True))
    start, count = torch.tensor(starts), torch.tensor(counts)
    step = torch.arange(many)
    grid = start[:, None] + step  # (R, T)
    new = step < count[:, None]
    seen = torch.arange(columns) <= grid[:, :, None]  # (R, T, C)
    mask = torch.zeros(seen.shape, dtype=cache.keys.dtype).masked_fill_(~seen, -torch.inf)
    row, steps = new.nonzero(as_tuple=True)
    return Pass(
        cache=cache,
        rows=row + first,
        positions=grid[new],
        steps=None if min(counts) == many else steps,
        first=first,
        shape=(len(counts), many, columns),
        mask=mask.repeat(1, cache.groups, 1)[:, None],
    )


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    packed: Pass,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """
    Keep the new keys and values, and attend to all of the row's.

    Shapes: query (1, heads, N, size), key and value (1, kv heads, N, size) -> (1, N, heads, size).
    """
    rows, many, columns = packed.shape
    heads, tokens, size = query.shape[1:]
    groups = packed.cache.groups
    keys = packed.cache.keys[module.layer_idx]
    values = packed.cache.values[module.layer_idx]
    keys[packed.rows, :, packed.positions] = key[0].transpose(0, 1)
    values[packed.rows, :, packed.positions] = value[0].transpose(0, 1)
    own = slice(packed.first, packed.first + rows)

    q = query[0].transpose(0, 1)  # (N, heads, size)
    if packed.steps is not None:
        grid = q.new_zeros(rows, many, heads, size)
        grid[packed.rows - packed.first, packed.steps] = q
        q = grid
    q = q.reshape(rows, many, heads // groups, groups, size).permute(0, 2, 3, 1, 4)
    out = scaled_dot_product_attention(
        q.reshape(rows, heads // groups, groups * many, size),
        keys[own, :, :columns],
        values[own, :, :columns],
        attn_mask=packed.mask,
        scale=scaling,
    )
    out = out.view(rows, heads // groups, groups, many, size).permute(0, 3, 1, 2, 4)
    out = out.reshape(rows, many, heads, size)
    if packed.steps is not None:
        out = out[packed.rows - packed.first, packed.steps]
    return out.reshape(1, tokens, heads, size), None


AttentionInterface.register(PACKED, attend)
