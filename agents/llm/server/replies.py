"""
Reads a chat-completions reply into a `Completion` or a `Failure`.

It is strict and never raises on what a server wrote: a reply of another shape, an answer that is
empty or breaks its schema is a failure that says what was expected and repeats none of the text.
It knows no connection.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from agents.llm.chat import ChatRequest, Completion, Failure, FailureKind
from agents.llm.schema import violation

Tokens = Annotated[int, Meta(ge=0, le=2**31 - 1)]  # as many as a store can count


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0


class _Reply(msgspec.Struct, frozen=True):
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    usage: _Usage | None = None


def read_reply(body: bytes, request: ChatRequest, latency_ns: int) -> Completion | Failure:
    """Return what a reply's body answers to a request. Raises ConfigError on a wrong schema."""
    try:
        reply = msgspec.json.decode(body, type=_Reply)
    except (msgspec.DecodeError, RecursionError):
        detail = f"expected a chat completion, was {len(body)} bytes of something else"
        return Failure(kind="invalid", detail=detail, latency_ns=latency_ns)
    choice, usage = reply.choices[0], reply.usage or _Usage()
    found = _fault(choice, request)
    if found is not None:
        kind, detail = found
        tokens = usage.prompt_tokens + usage.completion_tokens
        return Failure(kind=kind, detail=detail, latency_ns=latency_ns, tokens=tokens)
    return Completion(
        text=choice.message.content or "",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        latency_ns=latency_ns,
    )


def _fault(choice: _Choice, request: ChatRequest) -> tuple[FailureKind, str] | None:
    if choice.message.refusal:
        return "refused", "expected an answer, was the model's refusal"
    if choice.finish_reason == "length":
        return "truncated", f"expected an end within {request.max_tokens} tokens, was none"
    if choice.finish_reason == "content_filter":
        return "refused", "expected an answer, was stopped by the server's content filter"
    if choice.finish_reason != "stop":
        return "refused", "expected an answer that ended by itself, was ended by the server"
    text = choice.message.content or ""
    if not text.strip():
        return "invalid", "expected an answer, was empty text"
    if request.schema:
        broken = violation(msgspec.json.decode(request.schema), text)
        if broken is not None:
            return "invalid", broken
    return None
