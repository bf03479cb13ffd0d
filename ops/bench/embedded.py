"""
Measures the embedded language-model engine in one run: validity, throughput, passes.

Ratios hold on a busy machine, absolute figures do not. It measures and judges nothing.
"""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import msgspec

from agents.llm.chat import ChatRequest, Completion, Failure
from agents.llm.embedded.decoding import Row
from agents.llm.embedded.embedded_backend import EmbeddedBackend
from agents.llm.embedded.model_engine import Engine
from agents.llm.schema import violation

BOUND = 4  # rows that are answered under their schemas with and without fast-forward


def measure_engine(
    backend: EmbeddedBackend, requests: Sequence[ChatRequest], batch: int = 8, tokens: int = 40
) -> dict[str, float]:
    """
    Return the engine's figures over requests of schemas.

    `complete` answers all requests; transformers' `generate` and our loop then answer the first
    `batch` of them in free text of exactly `tokens` tokens, on the same weights, and our loop
    answers BOUND of them under their schemas with and without fast-forward. Rates are of answer
    tokens per second. 12 requests of 230 tokens take a minute on one core.
    """
    began = perf_counter()
    answers = backend.complete(requests)
    seconds = perf_counter() - began
    valid = [_is_valid(r, a) for r, a in zip(requests, answers, strict=True)]
    said = [a for a in answers if isinstance(a, Completion)]
    some = list(requests[:batch])
    with backend.running() as engine:
        engine.use(some[0].role)
        _generate(engine, some[:1], 2)  # its first call imports
        theirs, their_tokens = _generate(engine, some, tokens)
        free = [msgspec.structs.replace(r, schema="", max_tokens=tokens) for r in some]
        ours = _grow(engine, free, stops=False)
        forced = _grow(engine, some[:BOUND])
        plain = _grow(engine, some[:BOUND], fast_forward=False)
    same = sum(
        list(row.answer) == other for row, other in zip(ours.rows, their_tokens, strict=True)
    )
    return {
        "requests": len(requests),
        "valid": sum(valid),
        "requests_per_minute": 60 * len(requests) / seconds,
        "prompt_tokens": sum(a.prompt_tokens for a in said) / max(len(said), 1),
        "answer_tokens": sum(a.completion_tokens for a in said) / max(len(said), 1),
        "batch": len(some),
        "generate_tokens_per_second": len(some) * tokens / theirs,
        "free_tokens_per_second": ours.rate,
        "free_to_generate": ours.rate * theirs / (len(some) * tokens),
        "free_same_as_generate": same,
        "bound_tokens_per_second": forced.rate,
        "bound_tokens_per_second_without_fast_forward": plain.rate,
        "passes": forced.passes,
        "passes_without_fast_forward": plain.passes,
    }


class _Grown(msgspec.Struct):
    rows: list[Any]  # Row, which is no msgspec type
    passes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Answer tokens per second."""
        return sum(len(row.answer) for row in self.rows) / self.seconds


def _grow(
    engine: Engine,
    requests: Sequence[ChatRequest],
    *,
    stops: bool = True,
    fast_forward: bool = True,
) -> _Grown:
    """Answer requests in one batch; the time holds their prompts', but no kept beginning."""
    began = perf_counter()
    rows = [row for row in map(engine.row, requests) if isinstance(row, Row)]
    for row in rows:
        row.shared = 0
        row.fast_forward = fast_forward
        row.stops = row.stops if stops else frozenset()
    for _ in engine.passes(rows):
        pass
    return _Grown(rows, max(row.passes for row in rows), perf_counter() - began)


def _generate(
    engine: Engine, requests: Sequence[ChatRequest], tokens: int
) -> tuple[float, list[list[int]]]:
    """Let transformers answer in its own loop with its own attention."""
    import torch

    model, ours = engine.model, engine.model.config._attn_implementation
    rows = [row for row in map(engine.row, requests) if isinstance(row, Row)]
    longest = max(len(row.prompt) for row in rows)
    pad = engine.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (longest - len(r.prompt)) + list(r.prompt) for r in rows])
    seen = torch.tensor([[0] * (longest - len(r.prompt)) + [1] * len(r.prompt) for r in rows])
    model.set_attn_implementation("sdpa")
    try:
        began = perf_counter()
        out = model.generate(
            input_ids=ids,
            attention_mask=seen,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=pad,
        )
        return perf_counter() - began, out[:, longest:].tolist()
    finally:
        model.set_attn_implementation(ours)


def _is_valid(request: ChatRequest, answer: Completion | Failure) -> bool:
    schema = msgspec.json.decode(request.schema)
    return isinstance(answer, Completion) and violation(schema, answer.text) is None
