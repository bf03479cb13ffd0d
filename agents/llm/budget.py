"""
Budgets: how many calls, tokens and seconds decisions and a run may take.

A request beyond a budget is not asked and fails as "budget"; the first requests of a batch are
served first. Time is the latency that completions recorded, never a clock's, and budgets lie
outside the replay cache: a replayed run spends and refuses what the recorded one did. This file
knows no engine. One caller at a time.
"""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from agents.llm.chat import BackendAround, ChatBackend, ChatRequest, Completion, Failure
from config.settings import BudgetSettings

DECISIONS_KEPT = 1_000  # whose spending is remembered: those that may still ask


class Spent(msgspec.Struct):
    """What was spent; `seconds` is the sum over rounds of each one's slowest answer."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0


class BudgetedBackend(BackendAround):
    """
    A backend within budgets; `spent` is the run's.

    A request is let through where its `max_tokens` still fits; its prompt is counted when the
    answer tells it, so that a budget of tokens may be passed by the prompts of its last round,
    and by no answer.
    """

    def __init__(self, inner: ChatBackend, settings: BudgetSettings) -> None:
        super().__init__(inner)
        self.spent = Spent()
        self._settings = settings
        self._decisions: OrderedDict[str, Spent] = OrderedDict()

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | Failure]:
        """Return one answer for each request, in order; what is over fails as "budget"."""
        reserved = replace(self.spent)
        by_decision = {request.of: replace(self._of(request.of)) for request in requests}
        answers: list[Completion | Failure | None] = []
        asked: list[ChatRequest] = []
        for request in requests:
            over = self._over(request, reserved, by_decision[request.of])
            if over:
                answers.append(Failure(kind="budget", detail=over))
                continue
            for spent in (reserved, by_decision[request.of]):
                spent.calls += 1
                spent.tokens += request.max_tokens
            asked.append(request)
            answers.append(None)
        heard = self._inner.complete(asked) if asked else []
        self._charge(asked, heard)
        rest = iter(heard)
        return [next(rest) if answer is None else answer for answer in answers]

    def _of(self, name: str) -> Spent:
        """Return a decision's spending, and forget that of the oldest one."""
        spent = self._decisions.setdefault(name, Spent())
        self._decisions.move_to_end(name)
        while len(self._decisions) > DECISIONS_KEPT:
            self._decisions.popitem(last=False)
        return spent

    def _over(self, request: ChatRequest, run: Spent, decision: Spent) -> str:
        """Return which budget a request would pass, "" where it fits all."""
        limits = self._settings
        for kind, limit, asked in (
            ("calls a decision", limits.calls_per_decision, decision.calls + 1),
            ("calls a run", limits.calls_per_run, run.calls + 1),
            (
                "tokens a decision",
                limits.tokens_per_decision,
                decision.tokens + request.max_tokens,
            ),
            ("tokens a run", limits.tokens_per_run, run.tokens + request.max_tokens),
        ):
            if limit is not None and asked > limit:
                return f"expected at most {limit} {kind}, was {asked}"
        seconds = limits.seconds_per_run
        if seconds is not None and self.spent.seconds >= seconds:
            return f"expected less than {seconds:g} seconds a run, was {self.spent.seconds:.1f}"
        return ""

    def _charge(
        self, requests: Sequence[ChatRequest], answers: Sequence[Completion | Failure]
    ) -> None:
        """Count what was asked and what it took; an open circuit asked nothing."""
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Failure) and answer.kind == "circuit":
                continue
            for spent in (self.spent, self._of(request.of)):
                spent.calls += 1
                spent.tokens += answer.tokens
        self.spent.seconds += max((answer.latency_ns for answer in answers), default=0) / 1e9
