"""
All juniors in one round: rule-backed ones answer at once, model-backed ones in one batch.

Whatever the number of instruments and of model-backed juniors, the backend is asked once. A
junior whose model did not answer abstains and says why; where the circuit to the model is open,
the rule-backed junior of the same kind answers in its place, under its own name.
"""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Protocol

from agents.llm.chat import ChatBackend, ChatRequest, Completion, Failure
from agents.messages import Abstention, Case, JuniorName, Opinion
from agents.protocols import Junior
from config.errors import ConfigError, QuarterdeckError, one_line


class ModelJunior(Protocol):
    """A junior that speaks through a language model: it asks, and reads the answer."""

    name: JuniorName
    described: str  # the model and the prompt, with all that may change an answer

    def ask(self, case: Case, symbols: Sequence[str]) -> list[ChatRequest | Abstention]:
        """Return one question for each symbol, or an abstention where there is no evidence."""

    def hear(self, case: Case, symbol: str, answer: Completion | Failure) -> Opinion | Abstention:
        """Return what an answer says of a symbol; never raises on what a model wrote."""


class JuniorRound:
    """
    The juniors of one hierarchy, in the order in which their answers are listed.

    `described` identifies juniors whose code is not Quarterdeck's: their model and a hash.
    """

    def __init__(
        self,
        rules: Mapping[JuniorName, Junior],
        speakers: Mapping[JuniorName, ModelJunior] | None = None,
        backend: ChatBackend | None = None,
        described: Mapping[JuniorName, str] | None = None,
    ) -> None:
        self._rules = dict(rules)
        self._described = dict(described or {})
        self._speakers = dict(speakers or {})
        self._backend = backend

    @property
    def models(self) -> dict[str, str]:
        """The model of each junior, and all else that may change an answer: prompt or code."""
        return {name: self._model(name) for name in self._rules}

    @property
    def own(self) -> dict[JuniorName, str]:
        """The models of the juniors from elsewhere, where no language model speaks for them."""
        return {
            name: self._rules[name].model
            for name in self._rules
            if name in self._described and name not in self._speakers
        }

    def _model(self, name: JuniorName) -> str:
        own = self._described.get(name)
        if name in self._speakers:
            spoken = self._speakers[name].described
            return spoken if own is None else f"{spoken}, else {own}"
        return own or self._rules[name].model

    def opine(
        self, case: Case, asked: Mapping[JuniorName, Sequence[str]]
    ) -> list[Opinion | Abstention]:
        """Return one answer for each junior and symbol asked, in their order; one batch."""
        heard = self._round(case, asked)
        answers: list[Opinion | Abstention] = []
        for name, symbols in asked.items():
            speaker = self._speakers.get(name)
            if speaker is None:
                answers += self._opine(name, case, symbols)
                continue
            for symbol in symbols:
                answer = heard[name, symbol]
                if isinstance(answer, Failure) and answer.kind == "circuit":
                    answers += self._opine(name, case, [symbol])
                elif isinstance(answer, Abstention):
                    answers.append(answer)
                else:
                    answers.append(speaker.hear(case, symbol, answer))
        return answers

    def _opine(
        self, name: JuniorName, case: Case, symbols: Sequence[str]
    ) -> list[Opinion | Abstention]:
        """Return a junior's own answers. Raises ConfigError where they are not what was asked."""
        model = self._rules[name].model
        answers = self._answers(name, case, symbols)
        asked = [(name, symbol) for symbol in symbols]
        strange = [a for a in answers if not isinstance(a, Opinion | Abstention)]
        if strange:
            raise ConfigError(
                f"minds.juniors: {model}: expected an Opinion or an Abstention for each symbol, "
                f"was {type(strange[0]).__name__}"
            )
        if [(answer.junior, answer.symbol) for answer in answers] != asked:
            raise ConfigError(
                f"minds.juniors: {model}: expected {len(symbols)} answers as {name}, one a symbol "
                f"and in their order, was {len(answers)} or others"
            )
        for answer in answers:
            if isinstance(answer, Opinion) and not (
                _within(answer.score, -2.0, 2.0) and _within(answer.confidence, 0.0, 1.0)
            ):
                raise ConfigError(
                    f"minds.juniors: {model}: expected a score of -2..2 and a confidence of 0..1, "
                    f"was {answer.score!r} and {answer.confidence!r} for {answer.symbol}"
                )
        return answers

    def _answers(
        self, name: JuniorName, case: Case, symbols: Sequence[str]
    ) -> list[Opinion | Abstention]:
        """Return all that a junior says. What code from elsewhere raises is a ConfigError."""
        junior = self._rules[name]
        if name not in self._described:
            return list(junior.opine(case, symbols))
        try:
            return list(junior.opine(case, symbols))
        except QuarterdeckError:
            raise
        except (Exception, SystemExit) as e:
            raise ConfigError(
                f"minds.juniors: {junior.model}: expected a list of {len(symbols)} answers, "
                f"was {type(e).__name__}: {one_line(e)}"
            ) from e

    def _round(
        self, case: Case, asked: Mapping[JuniorName, Sequence[str]]
    ) -> dict[tuple[JuniorName, str], Completion | Failure | Abstention]:
        heard: dict[tuple[JuniorName, str], Completion | Failure | Abstention] = {}
        places: list[tuple[JuniorName, str]] = []
        requests: list[ChatRequest] = []
        for name, symbols in asked.items():
            if name in self._speakers:
                questions = self._speakers[name].ask(case, symbols)
                for symbol, question in zip(symbols, questions, strict=True):
                    if isinstance(question, Abstention):
                        heard[name, symbol] = question
                    else:
                        places.append((name, symbol))
                        requests.append(question)
        if requests and self._backend is not None:
            heard.update(zip(places, self._backend.complete(requests), strict=True))
        return heard


def _within(number: object, least: float, most: float) -> bool:
    return isinstance(number, Real) and least <= float(number) <= most
