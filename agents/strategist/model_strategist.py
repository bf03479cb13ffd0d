"""
The strategist that speaks through a language model: numbered opinions in, a bounded answer out.

It sees every opinion with its author's track record and cites opinions by number; an answer that
cites none is an abstention, and so is a failure. Leave-one-out asks again without each junior, in
the same batch: one round, whatever the number of instruments. Where the circuit to the model is
open the rule-backed strategist proposes. It knows no holdings beyond the case and no limits.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from agents.llm.answers import StrategistAnswer, answer_schema, answer_tokens
from agents.llm.chat import ChatBackend, ChatRequest, Completion, Failure
from agents.llm.masking.mask import Mask
from agents.llm.prompts.prompt_file import load_prompt
from agents.llm.prompts.quoting import quote
from agents.messages import JUNIORS, Case, JuniorName, Opinion, Proposal
from agents.protocols import Strategist

RATIONALE_LIMIT = 160
DIRECTION = {"BUY": 1.0, "HOLD": 0.0, "SELL": -1.0}


class _Question(NamedTuple):
    """What is asked of one instrument: by all its opinions, or without one junior's."""

    symbol: str
    without: JuniorName | None
    opinions: tuple[Opinion, ...]


class ModelStrategist:
    """Asks a model; `fallback` stands in while its circuit is open."""

    def __init__(
        self,
        backend: ChatBackend,
        fallback: Strategist,
        *,
        seed: int,
        mask: Mask | None = None,
        timed: bool = False,
        leave_one_out: bool = True,
    ) -> None:
        self.prompt = load_prompt("strategist")
        identity = backend.identity("strategist")
        self.model = identity.label
        self.described = f"{identity.described} {self.prompt.revision}"
        self._backend = backend
        self._fallback = fallback
        self._seed = seed
        self._mask = mask
        self._timed = timed
        self._leave_one_out = leave_one_out

    def propose(self, case: Case, opinions: Sequence[Opinion]) -> list[Proposal]:
        """Return a proposal for each symbol that has an opinion, sorted by symbol."""
        by_symbol: defaultdict[str, list[Opinion]] = defaultdict(list)
        for opinion in sorted(opinions, key=lambda o: (JUNIORS.index(o.junior), o.opinion_id)):
            by_symbol[opinion.symbol].append(opinion)
        questions = [q for s in sorted(by_symbol) for q in self._questions(s, by_symbol[s])]
        answers = (
            self._backend.complete([self._ask(case, q) for q in questions]) if questions else []
        )
        heard = {
            (q.symbol, q.without): answer for q, answer in zip(questions, answers, strict=True)
        }
        return [self._hear(case, s, by_symbol[s], heard) for s in sorted(by_symbol)]

    def _questions(self, symbol: str, opinions: Sequence[Opinion]) -> list[_Question]:
        asked = [_Question(symbol, None, tuple(opinions))]
        authors = list(dict.fromkeys(o.junior for o in opinions))
        if self._leave_one_out and len(authors) > 1:
            asked += [
                _Question(symbol, author, tuple(o for o in opinions if o.junior != author))
                for author in authors
            ]
        return asked

    def _ask(self, case: Case, question: _Question) -> ChatRequest:
        state = next(s for s in case.instruments if s.symbol == question.symbol)
        records = {record.junior: record for record in case.track}
        lines = []
        for k, opinion in enumerate(question.opinions, 1):
            record = records.get(opinion.junior)
            right = (
                "no record"
                if record is None or not record.calls
                else (f"right {record.hit_rate:.0%} of {record.calls} times")
            )
            said = quote(opinion.rationale, RATIONALE_LIMIT)
            lines.append(
                f"[{k}] {opinion.junior} analyst ({right}): score {opinion.score:+.1f} of 2, "
                f"confidence {opinion.confidence:.1f}: {said}"
            )
        mask, symbol = self._mask, question.symbol
        schema = answer_schema(StrategistAnswer, len(lines))
        return ChatRequest(
            role="strategist",
            messages=self.prompt.fill(
                instrument=symbol if mask is None else mask.symbol(symbol),
                market=case.macro.regime,
                held=f"{state.weight:.1%}",
                opinions="\n".join(lines),
            ),
            schema=schema,
            max_tokens=answer_tokens(schema),
            seed=self._seed,
            of=case.decision_id,
        )

    def _hear(
        self,
        case: Case,
        symbol: str,
        opinions: Sequence[Opinion],
        heard: Mapping[tuple[str, JuniorName | None], Completion | Failure],
    ) -> Proposal:
        answer = heard[symbol, None]
        if isinstance(answer, Failure) and answer.kind == "circuit":
            return self._fallback.propose(case, opinions)[0]
        mine = [a for (s, _), a in heard.items() if s == symbol]
        said = read_answer(answer)
        if isinstance(said, str):
            said = StrategistAnswer(
                action="HOLD", conviction=0.0, horizon=case.horizon, cites=(), reasons=said
            )
        cites = tuple(
            opinions[k - 1].opinion_id for k in dict.fromkeys(said.cites) if k <= len(opinions)
        )
        without: dict[str, float] = {}
        authors = list(dict.fromkeys(o.junior for o in opinions))
        if self._leave_one_out and cites:
            for author in authors:
                if len(authors) == 1:
                    without[author] = 0.0  # nobody else spoke: no view
                    continue
                other = read_answer(heard[symbol, author])
                if not isinstance(other, str):  # what is not known is left out
                    without[author] = view(other)
        return Proposal(
            symbol=symbol,
            action=said.action if cites else "HOLD",
            conviction=view(said) if cites else 0.0,
            horizon=said.horizon if cites else case.horizon,
            rationale=said.reasons if cites else f"abstains: {said.reasons or 'cites no opinion'}",
            cites=cites,
            conviction_without=without,
            model=self.model,
            prompt_revision=self.prompt.revision,
            latency_ns=max(a.latency_ns for a in mine) if self._timed else 0,
            tokens=sum(a.tokens for a in mine),
        )


def read_answer(answer: Completion | Failure) -> StrategistAnswer | str:
    """Return what was answered, or why nothing usable was."""
    if isinstance(answer, Failure):
        return f"{answer.kind}: {answer.detail}"
    try:
        return msgspec.json.decode(answer.text, type=StrategistAnswer)
    except msgspec.DecodeError as e:
        return f"invalid: {e}"


def view(answer: StrategistAnswer) -> float:
    """Return the signed conviction, 0 for HOLD and for an answer that cites no opinion."""
    return DIRECTION[answer.action] * answer.conviction + 0.0 if answer.cites else 0.0
