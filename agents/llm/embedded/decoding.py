"""
Decodes many rows at once, token by token, each under its grammar.

A row's grammar (llguidance) forbids tokens with which no answer of its schema could go on, and
names those with which every answer must go on: these are appended without being sampled, and the
next pass takes all of a row's new tokens at once. Prompts are read many in a pass, too. The
batch's composition changes floating-point sums: where two tokens are equally likely to the last
digits, a row may be answered differently alone and in a batch. This file knows tokens, not
messages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from agents.llm.embedded.attention import KeyValues, plan

CHUNK = 1024  # prompt tokens a pass: bounds its memory, and is enough for the CPU's full speed

type Prefix = tuple[torch.Tensor, torch.Tensor]  # keys and values, (layers, heads, columns, size)


@dataclass(eq=False)
class Row:
    """
    One answer in the making.

    The first `shared` tokens of its prompt are other rows' too; `prefix` is what they became.
    """

    prompt: Sequence[int]
    limit: int
    stops: frozenset[int]
    matcher: LLMatcher | None = None
    temperature: float = 0.0
    seed: int = 0
    shared: int = 0
    prefix: Prefix | None = None
    fast_forward: bool = True
    answer: list[int] = field(default_factory=list)
    read: int = 0  # tokens whose keys and values are kept
    passes: int = 0
    done: bool = False
    cut: bool = False
    broken: str = ""
    _chance: torch.Generator | None = None

    @property
    def columns(self) -> int:
        """The most tokens that the row can come to."""
        return len(self.prompt) + self.limit

    @property
    def fresh(self) -> list[int]:
        """The tokens that the next pass must read."""
        start = self.read - len(self.prompt)
        return [*self.prompt[self.read :], *self.answer[max(start, 0) :]]

    def force(self) -> None:
        """Append what every answer must go on with; end where nothing may follow."""
        if self.matcher is None:
            self.cut = not self.done and len(self.answer) >= self.limit
            self.done = self.done or self.cut
            return
        if self.fast_forward and not self.matcher.is_stopped():
            forced = self.matcher.compute_ff_tokens()
            if forced and not self.matcher.consume_tokens(forced):
                self.broken = self.matcher.get_error()
            self.answer += forced
        self.broken = self.broken or self.matcher.get_error()
        self.cut = len(self.answer) > self.limit or (
            len(self.answer) == self.limit and not self.matcher.is_stopped()
        )
        self.done = self.cut or bool(self.broken) or self.matcher.is_stopped()

    def take(self, logits: torch.Tensor) -> None:
        """Append the token that logits (V,), forbidden ones at -inf, choose."""
        if self.temperature == 0:
            token = int(logits.argmax())
        else:
            if self._chance is None:
                self._chance = torch.Generator().manual_seed(self.seed)
            chances = torch.softmax(logits.float() / self.temperature, dim=-1)
            token = int(torch.multinomial(chances, 1, generator=self._chance))
        if self.matcher is not None and not self.matcher.consume_token(token):
            self.broken = self.matcher.get_error() or "a token outside the grammar"
        if token in self.stops:
            self.done = True
        else:
            self.answer.append(token)
        if not self.done:
            self.force()


@torch.inference_mode()
def decode(model: Any, rows: Sequence[Row]) -> Iterator[list[Row]]:
    """
    Bring every row to its end; yield after each pass the rows that it brought on.

    Rows that end are dropped: the last one moves into their place.
    """
    active = list(rows)
    cache = KeyValues(model.config, len(rows), max(r.columns for r in rows) + 1, model.dtype)
    for k, row in enumerate(active):
        row.force()
        if row.prefix is not None:
            cache.put(k, *row.prefix)
            row.read = row.prefix[0].shape[2]
    first = 0
    while first < len(active):
        while len(active[first].fresh) > CHUNK:
            _read(model, cache, first, [active[first]], CHUNK)
        together = _together(active[first:])
        _choose(together, _read(model, cache, first, together))
        yield together
        first += len(together)
    while True:
        for k in reversed(range(len(active))):
            if active[k].done:
                last = active.pop()
                if k < len(active):
                    cache.move(len(active), k, last.read)
                    active[k] = last
        if not active:
            return
        _choose(active, _read(model, cache, 0, active))
        yield list(active)


def _together(rows: Sequence[Row]) -> list[Row]:
    """Return the first rows whose new tokens, each row's padded to the most, fit one pass."""
    most = 0
    for k, row in enumerate(rows):
        most = max(most, len(row.fresh))
        if k and (k + 1) * most > CHUNK:
            return list(rows[:k])
    return list(rows)


def read_prefix(model: Any, tokens: Sequence[int]) -> Prefix:
    """Return what the beginning of a prompt becomes, to be shared by rows that begin so."""
    row = Row(prompt=tokens, limit=0, stops=frozenset())
    with torch.inference_mode():
        cache = KeyValues(model.config, 1, len(tokens), model.dtype)
        while row.fresh:
            _read(model, cache, 0, [row], CHUNK)
        return cache.take(0, len(tokens))


def _read(
    model: Any, cache: KeyValues, first: int, rows: Sequence[Row], most: int | None = None
) -> torch.Tensor:
    """Read the rows' new tokens, at most `most` of each; return their last logits (R, V)."""
    fresh = [row.fresh[:most] for row in rows]
    counts = [len(tokens) for tokens in fresh]
    packed = plan(cache, first, [row.read for row in rows], counts)
    out = model(
        input_ids=torch.tensor([[token for tokens in fresh for token in tokens]]),
        position_ids=packed.positions[None],
        use_cache=False,
        logits_to_keep=torch.tensor(counts).cumsum(0) - 1,
        packed=packed,
    )
    for row, count in zip(rows, counts, strict=True):
        row.read += count
        row.passes += 1
    logits: torch.Tensor = out.logits[0]
    return logits


def _choose(rows: Sequence[Row], logits: torch.Tensor) -> None:
    """Forbid what each row's grammar forbids, and let each row take its token."""
    bound = [k for k, row in enumerate(rows) if row.matcher is not None and not row.done]
    if bound:
        bits = allocate_token_bitmask(len(rows), logits.shape[1])
        for k in bound:
            fill_next_token_bitmask(rows[k].matcher, bits, k)  # type: ignore[arg-type]
        allowed = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
        mask = torch.from_numpy(allowed[:, : logits.shape[1]]).bool()
        logits = logits.masked_fill(~mask, -torch.inf)
    for row, scores in zip(rows, logits, strict=True):
        if not row.done:
            row.take(scores)
