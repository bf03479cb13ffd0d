"""
The commands that explain and talk: a library is read, `agents.explain` says what is in it.

Rules gather every fact. With model-backed minds the language model in the explainer's role only
phrases them, and its words are taken only where they match the record.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from agents.explain.chat import Conversation
from agents.explain.cited import Answer
from agents.explain.commentary import comment
from agents.explain.explanation import explain
from agents.explain.facts import Record, RunFacts, Stamp
from backtest.market.sessions import parse_day
from config.errors import ConfigError
from config.settings import Settings
from learning.experience import reading
from learning.experience.library import Library, RunRow, open_library

KEPT_RECORDS = 64  # of one conversation, in memory
PROMPT = "? "


@dataclass(frozen=True)
class Asked:
    """Where to read, and who phrases: `settings.minds` of the explainer's role."""

    library: str
    run: str | None
    settings: Settings
    as_json: bool


class LibraryArchive:
    """One run of an open library, as `agents.explain.facts.Archive`."""

    def __init__(self, library: Library, run: RunRow) -> None:
        self._library = library
        self._run = run
        self.record = lru_cache(KEPT_RECORDS)(self._read)

    def stamps(self) -> Sequence[Stamp]:
        """Return all decisions, oldest first."""
        keys = reading.decision_keys(self._library, self._run.run_id)
        return [Stamp(decision_id=key.decision_id, ts_event=key.ts_event) for key in keys]

    def _read(self, decision_id: str) -> Record:
        return read_record(self._library, self._run.run_id, decision_id)

    def run(self) -> RunFacts:
        """Return the run's facts."""
        run_id = self._run.run_id
        tally = reading.tally(self._library, run_id)
        stamps = self.stamps()
        ends = [self.record(stamps[i].decision_id).case for i in (0, -1)] if stamps else [None] * 2
        first, last = (None if case is None else case.portfolio for case in ends)
        return RunFacts(
            run_id=run_id,
            name=self._run.name,
            status=self._run.status,
            settings=_settings_of(self._run),
            decisions=tally.decisions,
            orders=tally.orders,
            fills=tally.fills,
            outcomes=tally.outcomes,
            commission=tally.commission,
            first_equity=None if first is None else first.equity,
            last_equity=None if last is None else last.equity,
            last_drawdown=None if last is None else last.drawdown,
            sharpe=tally.sharpe,
            sessions_per_year=tally.sessions_per_year,
            acted=tally.acted,
            hits=tally.hits,
            realised=tally.realised,
            reward=tally.reward,
            by_arm=tally.routes,
            arm_reward=tally.arm_rewards,
            spoke=tally.spoke,
            silent=tally.silent,
        )


def read_record(library: Library, run_id: str, decision_id: str) -> Record:
    """Return one decision with all that belongs to it. Raises ConfigError where it is not held."""
    decision = library.decision(decision_id, run_id)
    if decision is None:
        raise ConfigError(f"expected a decision in the library, was {decision_id!r}")
    return Record(
        run_id=run_id,
        decision=decision,
        case=library.case(decision_id, run_id),
        verdicts=reading.verdicts(library, run_id, decision_id),
        orders=reading.orders(library, run_id, decision_id),
        fills=reading.fills(library, run_id, decision_id),
        outcomes=library.outcomes(decision_id, run_id),
        rewards=reading.rewards(library, run_id, decision_id),
    )


def run_explain(asked: Asked, decision_id: str, symbol: str | None) -> None:
    """Show why a decision was made."""
    with _opened(asked) as (library, phrase):
        run_id = None if asked.run is None else reading.find_run(library, asked.run).run_id
        key = reading.find_decision(library, decision_id, run_id)
        record = read_record(library, key.run_id, key.decision_id)
        if symbol is not None and symbol not in record.symbols:
            held = ", ".join(record.symbols)
            raise ConfigError(f"expected an instrument of the decision ({held}), was {symbol!r}")
        about = f" of {symbol}" if symbol else ""
        question = f"Why the decision{about} on {record.day}?"
        _show(phrase(question, explain(record, symbol)), asked.as_json)


def run_commentary(asked: Asked, day: str) -> None:
    """Show a session's commentary."""
    parse_day(day, "--date")
    with _opened(asked) as (library, phrase):
        archive = LibraryArchive(library, reading.find_run(library, asked.run))
        _show(phrase(f"What happened on {day}?", comment(archive, day)), asked.as_json)


def run_chat(asked: Asked, questions: Sequence[str]) -> None:
    """Answer the questions given, or those that come on standard input until it ends."""
    with _opened(asked) as (library, phrase):
        run = reading.find_run(library, asked.run)
        conversation = Conversation(LibraryArchive(library, run))
        turns: Iterable[str] = questions or _typed(run)
        for question in turns:
            answer = phrase(question, conversation.ask(question))
            if asked.as_json:
                print(msgspec.json.encode(_facts(answer) | {"question": question}).decode())
            else:
                print(
                    f"{PROMPT}{question}\n{_text(answer, answer.text)}\n"
                    if questions
                    else f"{_text(answer, answer.text)}\n"
                )
            sys.stdout.flush()


def _typed(run: RunRow) -> Iterator[str]:
    """Yield the lines of standard input; a person is told how to begin and end."""
    shown = sys.stdin.isatty()
    if shown:
        print(f"run {run.run_id[:10]} of {run.name}; ask, or end with Ctrl-D", file=sys.stderr)
    while True:
        if shown:
            print(PROMPT, end="", file=sys.stderr, flush=True)
        question = sys.stdin.readline()
        if not question:
            return
        if question.strip():
            yield question.strip()


@contextmanager
def _opened(asked: Asked) -> Iterator[tuple[Library, Callable[[str, Answer], Answer]]]:
    """Open the library and, where a model phrases, its engine; both are closed at the end."""
    with ExitStack() as stack:
        library = stack.enter_context(open_library(asked.library, create=False))
        if asked.settings.minds.of("explainer") == "rules":
            yield library, lambda _, answer: answer
            return
        from agents.explain.phrasing import Phraser
        from ops.composition.model_minds import open_models

        models = stack.enter_context(open_models(asked.settings))
        assert models is not None  # one role is model-backed
        phraser = Phraser(models.backend, seed=asked.settings.seed)
        yield library, phraser.phrase
        if phraser.counts:
            said = ", ".join(f"{count} {kind}" for kind, count in sorted(phraser.counts.items()))
            print(f"the model's words: {said}", file=sys.stderr)


def _settings_of(run: RunRow) -> Settings | None:
    """Return the settings that a run was stored with, None where this version cannot read them."""
    try:
        return msgspec.json.decode(run.config, type=Settings)
    except msgspec.DecodeError:
        return None


def _facts(answer: Answer) -> dict[str, Any]:
    return {
        "answer": answer.text,
        "record": answer.record,
        "cites": msgspec.to_builtins(answer.cites),
        "kind": answer.kind,
        "known": answer.known,
        "by": answer.by,
        "note": answer.note,
    }


def _text(answer: Answer, text: str) -> str:
    return f"({answer.note})\n{text}" if answer.note else text


def _show(answer: Answer, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(_facts(answer)).decode())
    else:
        print(_text(answer, answer.page))
