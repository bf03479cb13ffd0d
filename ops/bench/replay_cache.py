"""
Measures the cache of completions: decisions a second that are answered from it.

A decision is two batches, four juniors' questions and two of the strategist's, of about 1,500
characters with the schemas that minds ask with. Every question is made, hashed, looked up and
decoded, and none is asked twice.
"""

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents.llm.answers import NewsAnswer, StrategistAnswer, TechnicalAnswer, answer_schema
from agents.llm.chat import ChatMessage, ChatRequest, Completion, Failure, ModelIdentity, Role
from agents.llm.store.completion_store import CompletionStore
from agents.llm.store.replay_backend import ReplayBackend
from agents.messages import Message

ROUNDS: tuple[tuple[tuple[Role, type[Message]], ...], ...] = (
    (("news", NewsAnswer),) * 2 + (("technical", TechnicalAnswer),) * 2,
    (("strategist", StrategistAnswer),) * 2,
)
PROMPT_CHARACTERS = 1_500
ANSWER = (
    '{"sentiment_score":0.5,"confidence":0.6,"topic":"earnings","items":[1,2],"rationale":"%d"}'
)


class _Canned:
    """Answers at once."""

    def identity(self, role: Role) -> ModelIdentity:
        return ModelIdentity(
            model=role, weights="0" * 64, engine="canned", version="1", dtype="float32"
        )

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | Failure]:
        return [
            Completion(
                text=ANSWER % i, prompt_tokens=400, completion_tokens=40, latency_ns=1_000_000
            )
            for i in range(len(requests))
        ]

    def stream(self, request: ChatRequest) -> Iterator[str]:
        yield ANSWER % 0

    def close(self) -> None: ...


def _rounds(decisions: int) -> list[list[ChatRequest]]:
    rng = random.Random(0)
    words = [f"{rng.getrandbits(40):x}" for _ in range(2_000)]
    return [
        [
            ChatRequest(
                role=role,
                messages=(
                    ChatMessage(role="system", content="analyse " * 60),
                    ChatMessage(
                        role="user",
                        content=f"{i} {k} {' '.join(rng.choices(words, k=120))}"[
                            :PROMPT_CHARACTERS
                        ],
                    ),
                ),
                schema=answer_schema(answer, 6),
                of=str(i),
            )
            for k, (role, answer) in enumerate(batch)
        ]
        for i in range(decisions)
        for batch in ROUNDS
    ]


def measure_replay(path: Path, decisions: int = 2_000) -> dict[str, float]:
    """Fill a new cache at `path` with made-up decisions and replay them; return the speeds."""
    rounds = _rounds(decisions)
    store = CompletionStore(path)
    try:
        seconds, processor = {}, {}
        for mode in ("record", "replay"):
            backend = ReplayBackend(_Canned(), store, mode, "canned")
            start, used = time.perf_counter(), time.process_time()
            for requests in rounds:
                backend.complete(requests)
            seconds[mode] = time.perf_counter() - start
            processor[mode] = time.process_time() - used
    finally:
        store.close()
    return {
        "decisions": decisions,
        "completions": sum(map(len, rounds)),
        "recorded_per_s": decisions / seconds["record"],
        "replayed_per_s": decisions / seconds["replay"],
        "replayed_per_processor_s": decisions / processor["replay"],
    }
