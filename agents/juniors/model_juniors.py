"""
The juniors that speak through a language model: evidence in numbered lines, a bounded answer.

A question shows only what the case holds; no evidence, no question: an abstention. An answer that
cannot be used - a timeout, a refusal, a truncation, words outside the schema - is an abstention
too, never a neutral opinion. `mask` hides who and when; `evidence_lines` writes the lines. They
know no engine and no price of a token.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from agents.juniors.evidence_lines import Line, figure_lines, headline_lines, indicator_lines
from agents.juniors.opinions import form_opinion
from agents.llm.answers import (
    FundamentalAnswer,
    NewsAnswer,
    Signal,
    TechnicalAnswer,
    answer_schema,
    answer_tokens,
)
from agents.llm.chat import ChatRequest, Completion, Failure, ModelIdentity
from agents.llm.masking.mask import Mask
from agents.llm.prompts.prompt_file import Prompt, load_prompt
from agents.messages import Abstention, Case, JuniorName, Message, Opinion

SIGNALS: dict[Signal, float] = {
    "strong_sell": -2.0,
    "sell": -1.0,
    "neutral": 0.0,
    "buy": 1.0,
    "strong_buy": 2.0,
}


class _ModelJunior[A: Message](ABC):
    """
    What all three have in common.

    `timed` puts a completion's recorded latency into opinions; otherwise a decision takes the
    desk's configured time.
    """

    name: JuniorName
    answer: type[A]

    def __init__(
        self, identity: ModelIdentity, *, seed: int, mask: Mask | None = None, timed: bool = False
    ) -> None:
        self.prompt: Prompt = load_prompt(self.name)
        self.model = identity.label
        self.described = f"{identity.described} {self.prompt.revision}"
        self._seed = seed
        self._mask = mask
        self._timed = timed

    @abstractmethod
    def lines(self, case: Case, symbol: str) -> list[Line]:
        """Return the evidence that a question shows, at most MOST_ITEMS lines."""

    @abstractmethod
    def judge(self, answer: A) -> tuple[float, float, str]:
        """Return an answer's score, confidence and rationale."""

    def values(self, case: Case, symbol: str, lines: Sequence[Line]) -> dict[str, str]:
        """Return what fills the prompt's blanks."""
        return {
            "instrument": symbol if self._mask is None else self._mask.symbol(symbol),
            "evidence": "\n".join(f"[{k}] {line.text}" for k, line in enumerate(lines, 1)),
        }

    def ask(self, case: Case, symbols: Sequence[str]) -> list[ChatRequest | Abstention]:
        """Return one question for each symbol, or an abstention where there is no evidence."""
        return [self._ask(case, symbol) for symbol in symbols]

    def _ask(self, case: Case, symbol: str) -> ChatRequest | Abstention:
        lines = self.lines(case, symbol)
        if not lines:
            return self._abstain(symbol, "no evidence in the case")
        schema = answer_schema(self.answer, len(lines))
        return ChatRequest(
            role=self.name,
            messages=self.prompt.fill(**self.values(case, symbol, lines)),
            schema=schema,
            max_tokens=answer_tokens(schema),
            seed=self._seed,
            of=case.decision_id,
        )

    def hear(self, case: Case, symbol: str, answer: Completion | Failure) -> Opinion | Abstention:
        """Return what an answer says of a symbol; never raises on what a model wrote."""
        latency_ns = answer.latency_ns if self._timed else 0
        if isinstance(answer, Failure):
            reason = f"{answer.kind}: {answer.detail}"
            return self._abstain(symbol, reason, latency_ns, answer.tokens)
        lines = self.lines(case, symbol)
        try:
            said = msgspec.json.decode(answer.text, type=self.answer)
        except msgspec.DecodeError as e:
            return self._abstain(symbol, f"invalid: {e}", latency_ns, answer.tokens)
        cited = [lines[k - 1].evidence for k in dict.fromkeys(said.items) if k <= len(lines)]  # type: ignore[attr-defined]  # every answer has items
        if not cited:
            return self._abstain(symbol, "invalid: cited no line", latency_ns, answer.tokens)
        score, confidence, rationale = self.judge(said)
        opinion = form_opinion(
            case, self.name, symbol, score, confidence, cited, rationale, self.model
        )
        return msgspec.structs.replace(
            opinion,
            prompt_revision=self.prompt.revision,
            latency_ns=latency_ns,
            tokens=answer.tokens,
        )

    def _abstain(
        self, symbol: str, reason: str, latency_ns: int = 0, tokens: int = 0
    ) -> Abstention:
        return Abstention(
            junior=self.name,
            symbol=symbol,
            reason=reason,
            model=self.model,
            latency_ns=latency_ns,
            tokens=tokens,
        )


class ModelNewsJunior(_ModelJunior[NewsAnswer]):
    """Reads the headlines since the last decision, newest first; `shown` of them at most."""

    name: JuniorName = "news"
    answer = NewsAnswer

    def __init__(
        self,
        identity: ModelIdentity,
        *,
        seed: int,
        mask: Mask | None = None,
        timed: bool = False,
        shown: int,
    ) -> None:
        super().__init__(identity, seed=seed, mask=mask, timed=timed)
        self._shown = shown

    def lines(self, case: Case, symbol: str) -> list[Line]:
        """Return the newest distinct headlines, quoted."""
        return headline_lines(case, symbol, self._shown, self._mask)

    def judge(self, answer: NewsAnswer) -> tuple[float, float, str]:
        """Return the sentiment as the score."""
        return answer.sentiment_score, answer.confidence, f"{answer.topic}: {answer.rationale}"


class ModelTechnicalJunior(_ModelJunior[TechnicalAnswer]):
    """Reads the price features in words and numbers."""

    name: JuniorName = "technical"
    answer = TechnicalAnswer

    def lines(self, case: Case, symbol: str) -> list[Line]:
        """Return the known indicators."""
        return indicator_lines(case, symbol)

    def values(self, case: Case, symbol: str, lines: Sequence[Line]) -> dict[str, str]:
        """Add the market's regime."""
        return super().values(case, symbol, lines) | {"market": case.macro.regime}

    def judge(self, answer: TechnicalAnswer) -> tuple[float, float, str]:
        """Return the signal as the score; pattern and levels go to the rationale."""
        words = (
            f"{answer.pattern}, support {answer.support_pct}% below, "
            f"resistance {answer.resistance_pct}% above: {answer.rationale}"
        )
        return SIGNALS[answer.signal], answer.confidence, words


class ModelFundamentalJunior(_ModelJunior[FundamentalAnswer]):
    """Reads the figures, their trend and the sector's."""

    name: JuniorName = "fundamental"
    answer = FundamentalAnswer

    def lines(self, case: Case, symbol: str) -> list[Line]:
        """Return figures of the newest report, against a year before and against peers."""
        return figure_lines(case, symbol)

    def judge(self, answer: FundamentalAnswer) -> tuple[float, float, str]:
        """Return the score; the metrics and the valuation go to the rationale."""
        read = ", ".join(
            f"{name} {'unknown' if value is None else f'{value}%'}"
            for name, value in (
                ("growth", answer.growth_pct),
                ("margin", answer.margin_pct),
                ("earnings yield", answer.earnings_yield_pct),
            )
        )
        words = f"{answer.valuation} ({read}): {answer.valuation_reasoning}"
        return answer.score, answer.confidence, words
