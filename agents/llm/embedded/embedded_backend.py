"""
The model that runs in process: transformers, PEFT adapters by role, llguidance.

Questions are batched by adapter and by length, and answered on the CPU. Nothing is loaded before
the first question, and no model hub is asked. Tokens and grammars are the business of
`model_engine`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING

from agents.llm.chat import ChatRequest, Completion, Failure, ModelIdentity, Role
from agents.llm.embedded.weights import (
    PACKAGED,
    adapter_digest,
    model_folder,
    weights_digest,
)
from config.errors import Retryable
from config.files.paths import own_path
from config.settings import EmbeddedSettings

if TYPE_CHECKING:
    from agents.llm.embedded.decoding import Row
    from agents.llm.embedded.model_engine import Engine

REVISION = 2  # of our own decoding: a change here may change an answer
COLUMNS = 32_768  # of keys and values in a batch: 1.5 GB of the packaged model's in float32


class EmbeddedBackend:
    """A ChatBackend in this process."""

    def __init__(self, settings: EmbeddedSettings, cache: Path) -> None:
        self._settings = settings
        self._cache = cache
        self._adapters = {r: own_path(p) for r, p in settings.adapters.items()}
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    def identity(self, role: Role) -> ModelIdentity:
        """Return what answers for a role; unpacks the packaged model where it never was."""
        adapter = self._adapter_digests.get(role, "")
        return ModelIdentity(
            model=PACKAGED if not self._settings.path else self._folder.name,
            weights=self._weights,
            engine="embedded",
            version="-".join(
                [f"r{REVISION}"] + [version(p) for p in ("transformers", "torch", "llguidance")]
            ),
            dtype=self._settings.dtype,
            adapter=adapter,
        )

    @cached_property
    def _folder(self) -> Path:
        return model_folder(self._settings, self._cache)

    @cached_property
    def _weights(self) -> str:
        return weights_digest(self._folder, self._cache)

    @cached_property
    def _adapter_digests(self) -> dict[Role, str]:
        return {role: adapter_digest(folder) for role, folder in self._adapters.items()}

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | Failure]:
        """Return one answer for each request, in order."""
        began = perf_counter_ns()
        answers: list[Completion | Failure | None] = [None] * len(requests)
        with self.running() as engine:
            rows: list[tuple[int, Row]] = []
            for k, request in enumerate(requests):
                row = engine.row(request)
                if isinstance(row, Failure):
                    answers[k] = row
                else:
                    rows.append((k, row))
            places = {id(row): k for k, row in rows}
            for role, batch in self._batches(requests, rows):
                engine.use(role)
                for brought_on in engine.passes(batch):
                    now = perf_counter_ns() - began
                    for row in brought_on:
                        if row.done:
                            answers[places[id(row)]] = engine.answer(row, now)
        return [answer for answer in answers if answer is not None]

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """Yield an answer's text as it comes. Raises Retryable where there is none."""
        with self.running() as engine:
            row = engine.row(request)
            if isinstance(row, Failure):
                raise Retryable(f"{row.kind}: {row.detail}")
            engine.use(request.role)
            said = ""
            for _ in engine.passes([row]):
                text = engine.text(row)
                if not text.endswith("\ufffd"):  # half a sign is not yet text
                    yield text[len(said) :]
                    said = text
            answer = engine.answer(row, 0)
            if isinstance(answer, Failure):
                raise Retryable(f"{answer.kind}: {answer.detail}")

    def close(self) -> None:
        """Let go of the weights; the next question loads them again."""
        with self._lock:
            self._engine = None

    @contextmanager
    def running(self) -> Iterator[Engine]:
        """Lend the loaded engine to one caller at a time, with the settings' threads."""
        import torch

        from agents.llm.embedded.model_engine import Engine

        with self._lock:
            before = torch.get_num_threads()
            torch.set_num_threads(self._settings.threads or os.cpu_count() or 1)
            try:
                if self._engine is None:
                    _ = self._adapter_digests  # a wrong adapter is refused before the weights load
                    self._engine = Engine(self._folder, self._settings.dtype, self._adapters)
                yield self._engine
            finally:
                torch.set_num_threads(before)

    def _batches(
        self, requests: Sequence[ChatRequest], rows: Sequence[tuple[int, Row]]
    ) -> Iterator[tuple[Role, list[Row]]]:
        """Yield rows of one adapter and of like length, within the batch's size and memory."""
        groups: dict[str, list[tuple[int, Row]]] = {}
        for k, row in rows:
            groups.setdefault(str(self._adapters.get(requests[k].role, "")), []).append((k, row))
        for group in groups.values():
            role = requests[group[0][0]].role
            batch: list[Row] = []
            for _, row in sorted(group, key=lambda one: one[1].columns):
                full = len(batch) == self._settings.batch_size
                if batch and (full or (len(batch) + 1) * row.columns > COLUMNS):
                    yield role, batch
                    batch = []
                batch.append(row)
            yield role, batch
