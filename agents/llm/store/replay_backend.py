"""
Keeps completions: a question is asked once, and its answer is replayed to the byte.

`CompletionStore` is one SQLite file; `ReplayBackend` lies over a backend and answers from it. An
answer is kept under the SHA-256 of everything that may change it: what answers (`ModelIdentity`),
the schema, the sampling, and the messages in full; who asked, and for which decision, is left
out. So answers of different weights lie in one file and never replace each other. It knows no
engine and no budget; prompts themselves are not kept, only their hashes.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

from agents.llm.chat import ChatBackend, ChatRequest, Completion, Failure, ModelIdentity, Role
from agents.llm.store.completion_store import Asked, CompletionStore, Entry, Kept, Served
from config.errors import ReplayMiss, Retryable

type ReplayMode = Literal["live", "record", "replay", "replay-or-live"]
type Answer = Completion | Failure

_ENCODE = msgspec.json.Encoder().encode
_SHOWN = 8  # characters of a hash in a message


class ReplayBackend:
    """
    A backend whose answers are kept in a store, or come from it, and are hashed as they are used.

    `live` asks everything and keeps nothing, and needs no store; `record` asks everything and
    keeps it; `replay` asks nothing and raises ReplayMiss on what is not kept; `replay-or-live`
    asks for what is not kept, and again for what failed. What is kept is asked once in this
    object's life and held by it: a second answer, or another run's, would take the first one's
    place, and a replay would differ from the run that it repeats.

    `kind` names the engine and `configured` the model and adapters that it is set to: under both
    the store remembers what answered, so that a replay needs no server. The identity of each role
    is taken once and holds for this object's life.
    """

    def __init__(
        self,
        inner: ChatBackend,
        store: CompletionStore | None,
        mode: ReplayMode,
        kind: str,
        configured: str = "",
    ) -> None:
        self.hits = 0
        self.misses = 0
        if store is None and mode != "live":
            raise ValueError(f"expected a store to {mode} from, was none")
        self._inner = inner
        self._store = store
        self._mode = mode
        self._kind = kind
        self._configured = configured
        self._identities: dict[Role, ModelIdentity] = {}
        self._made: dict[bytes, Kept] = {}  # the answers that were asked for here and kept
        self._used = hashlib.sha256()
        self._begun = lru_cache(256)(self._begin)

    @property
    def digest(self) -> str:
        """The SHA-256 over each key and answer that was used, in the order of their use."""
        return self._used.hexdigest()

    def identity(self, role: Role) -> ModelIdentity:
        """
        Return what answers for a role; where the server is down, what answered last.

        Raises ReplayMiss where no replay could hit: the store knows the role by other models
        only, or the server is down and the store does not know it.
        """
        known = self._identities.get(role)
        if known is None:
            known = self._identities[role] = self._identify(role)
        return known

    def complete(self, requests: Sequence[ChatRequest]) -> list[Answer]:
        """Return one answer for each request, in order. Raises ReplayMiss in a replay."""
        keys = [self._key(request) for request in requests]
        held = self._held(keys)
        missing = {
            key: request for key, request in zip(keys, requests, strict=True) if key not in held
        }
        self.hits += sum(key in held for key in keys)
        self.misses += len(missing)
        if missing:
            held |= self._ask(missing)
        answers = []
        for key in keys:
            kept = held[key]
            self._used.update(key + kept.body)
            answers.append(kept.answer)
        return answers

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """
        Yield an answer's text: whole where it is kept, else as it comes, kept at its end.

        A stream does not tell its tokens: such an answer is kept with none.
        """
        key = self._key(request)
        kept = self._held([key]).get(key)
        if kept is not None:
            if isinstance(kept.answer, Failure):
                raise Retryable(f"{kept.answer.kind}: {kept.answer.detail}")
            self.hits += 1
            self._used.update(key + kept.body)
            yield kept.answer.text
            return
        self._refuse_in_replay([request])
        self.misses += 1
        start = time.perf_counter_ns()
        pieces = []
        for piece in self._inner.stream(request):
            pieces.append(piece)
            yield piece
        answer = Completion(
            text="".join(pieces),
            prompt_tokens=0,
            completion_tokens=0,
            latency_ns=time.perf_counter_ns() - start,
        )
        self._used.update(key + self._keep({key: request}, [answer])[key].body)

    def close(self) -> None:
        """Close what lies beneath; the store is its opener's."""
        self._inner.close()

    # --- what answers --------------------------------------------------------------------------

    def _identify(self, role: Role) -> ModelIdentity:
        store = self._store
        if store is None:
            return self._inner.identity(role)
        served = Served(self._kind, role, self._configured)
        known = store.identities(served)
        try:
            identity = self._inner.identity(role)
        except Retryable as e:
            if known:
                return known[-1]
            if self._mode == "replay":
                raise ReplayMiss(
                    f"expected to know what answered for {role}, was not kept, and {e}"
                ) from e
            raise
        if self._mode != "replay":
            if not known or known[-1] != identity:
                store.remember(served, identity)
        elif known and identity not in known:
            raise ReplayMiss(
                f"expected completions of {role} by {identity.label}, "
                f"was a cache {_words(_differing(known[-1], identity))}: {store.path}"
            )
        return identity

    # --- what is asked -------------------------------------------------------------------------

    def _asked(self, request: ChatRequest) -> Asked:
        return Asked(
            identity=self.identity(request.role),
            schema=request.schema,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
        )

    def _begin(self, role: Role, schema: str, *sampling: Any) -> Any:
        """Return the key's hash so far: all but the messages, which few questions share."""
        asked = Asked(self.identity(role), schema, *sampling)
        return hashlib.sha256(b"[" + _ENCODE(asked) + b",")

    def _key(self, r: ChatRequest) -> bytes:
        key = self._begun(r.role, r.schema, r.max_tokens, r.temperature, r.seed).copy()
        key.update(_ENCODE(r.messages) + b"]")
        return bytes(key.digest())

    def _held(self, keys: Sequence[bytes]) -> dict[bytes, Kept]:
        """Return the answers that may be used: this object's own, then what the store holds."""
        own = {key: self._made[key] for key in keys if key in self._made}
        if self._store is None or self._mode == "record":
            return own
        found = self._store.find([key for key in keys if key not in own])
        if self._mode == "replay-or-live":
            found = {k: kept for k, kept in found.items() if isinstance(kept.answer, Completion)}
        return own | found

    def _ask(self, missing: dict[bytes, ChatRequest]) -> dict[bytes, Kept]:
        requests = list(missing.values())
        self._refuse_in_replay(requests)
        return self._keep(missing, self._inner.complete(requests))

    def _keep(
        self, asked: dict[bytes, ChatRequest], answers: Sequence[Answer]
    ) -> dict[bytes, Kept]:
        kept = {
            key: Kept(answer=answer, body=_ENCODE(answer))
            for key, answer in zip(asked, answers, strict=True)
        }
        if self._store is not None:
            self._store.keep(
                [
                    Entry(key, _prompt(request), self._asked(request), kept[key])
                    for key, request in asked.items()
                ]
            )
            self._made.update(kept)
        return kept

    def _refuse_in_replay(self, requests: Sequence[ChatRequest]) -> None:
        store = self._store
        if store is None or self._mode != "replay":
            return
        first = requests[0]
        others = f" and {len(requests) - 1} more" if len(requests) > 1 else ""
        raise ReplayMiss(
            f"expected a kept completion of {first.role}{others}, "
            f"was {self._why(first, store)}: {store.path}"
        )

    def _why(self, request: ChatRequest, store: CompletionStore) -> str:
        """Say what is new about a question, by the kept one of the same messages nearest to it."""
        same = store.asked_of(_prompt(request))
        if not same:
            return "a cache without this prompt"
        asked = self._asked(request)
        nearest = min(same, key=lambda kept: len(_differing(kept, asked)))
        if nearest == asked:
            return "a cache in which another run has kept it since this one began"
        return f"a cache with this prompt {_words(_differing(nearest, asked))}"


def _prompt(request: ChatRequest) -> bytes:
    return hashlib.sha256(_ENCODE(request.messages)).digest()


def _differing(
    kept: Asked | ModelIdentity, now: Asked | ModelIdentity
) -> dict[str, tuple[Any, Any]]:
    """Return the fields that differ, as kept and as asked now."""
    old, new = (_flat(asked) for asked in (kept, now))
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}


def _flat(asked: Asked | ModelIdentity) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(asked)
    identity: dict[str, Any] = fields.pop("identity", {})
    return identity | fields


def _words(differing: dict[str, tuple[Any, Any]]) -> str:
    return "of " + " and ".join(
        f"{'engine version' if name == 'version' else name} {_short(old)} (now {_short(new)})"
        for name, (old, new) in differing.items()
    )


def _short(value: Any) -> str:
    """Return a hash by its beginning, and a schema by the beginning of its hash."""
    text = str(value)
    if text.startswith("{"):
        text = hashlib.sha256(text.encode()).hexdigest()
    return (text[:_SHOWN] if len(text) >= 64 else text) or "none"
