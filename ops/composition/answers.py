"""
Answers questions about the record: reads a library, and lets `agents.explain` say what it holds.

Rules gather every fact. With a model-backed explainer the language model only phrases them, and
its words are taken only where they match the record.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import msgspec

from agents.explain.cited import Answer
from agents.explain.commentary import comment
from agents.explain.conversation import Conversation
from agents.explain.explanation import explain
from agents.explain.facts import Record, RunFacts, Stamp
from config.errors import ConfigError
from config.settings import Settings
from learning.experience import reading
from learning.experience.library import Library, RunRow, open_library
from learning.experience.running import left_running
from ops.printing import print_notes

if TYPE_CHECKING:
    from agents.explain.phrasing import Phraser

KEPT_RECORDS = 64  # of one conversation, in memory


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
        stamps = self.stamps()
        ends = [self.record(stamps[i].decision_id).case for i in (0, -1)] if stamps else [None] * 2
        first, last = (None if case is None else case.portfolio for case in ends)
        return RunFacts(
            run_id=run_id,
            name=self._run.name,
            status=self._run.status,
            settings=_settings_of(self._run),
            tally=reading.tally(self._library, run_id),
            first_equity=None if first is None else first.equity,
            last_equity=None if last is None else last.equity,
            last_drawdown=None if last is None else last.drawdown,
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


class Answers:
    """What can be asked of an open library; a model phrases the facts where there is one."""

    def __init__(self, library: Library, run: str | None, phraser: Phraser | None) -> None:
        self._library = library
        self._named = run
        self._phraser = phraser

    @cached_property
    def run(self) -> RunRow:
        """The run that was named, or the newest that decided."""
        return reading.find_run(self._library, self._named)

    @cached_property
    def _conversation(self) -> Conversation:
        return Conversation(LibraryArchive(self._library, self.run))

    def explain(self, decision_id: str, symbol: str | None) -> Answer:
        """Return why a decision was made, of one instrument or of all."""
        run_id = None if self._named is None else self.run.run_id
        key = reading.find_decision(self._library, decision_id, run_id)
        record = read_record(self._library, key.run_id, key.decision_id)
        if symbol is not None and symbol not in record.symbols:
            held = ", ".join(record.symbols)
            raise ConfigError(f"expected an instrument of the decision ({held}), was {symbol!r}")
        about = f" of {symbol}" if symbol else ""
        question = f"Why the decision{about} on {record.day}?"
        return self._phrase(question, explain(record, symbol))

    def comment(self, day: str) -> Answer:
        """Return what happened on a session's day, YYYY-MM-DD."""
        archive = LibraryArchive(self._library, self.run)
        return self._phrase(f"What happened on {day}?", comment(archive, day))

    def ask(self, question: str) -> Answer:
        """Return the answer to a question, which may refer to the ones before it."""
        return self._phrase(question, self._conversation.ask(question))

    def _phrase(self, question: str, answer: Answer) -> Answer:
        return answer if self._phraser is None else self._phraser.phrase(question, answer)


@contextmanager
def open_answers(library: str, run: str | None, settings: Settings) -> Iterator[Answers]:
    """
    Open a library and, where the settings' explainer is a model, its engine.

    What became of the model's words is said on standard error at the end.
    """
    with ExitStack() as stack:
        held = stack.enter_context(open_library(library, create=False))
        print_notes(left_running(held))
        if settings.minds.of("explainer") == "rules":
            yield Answers(held, run, None)
            return
        from agents.explain.phrasing import Phraser
        from ops.composition.model_minds import open_models

        models = stack.enter_context(open_models(settings))
        assert models is not None  # one role is model-backed
        phraser = Phraser(models.backend, seed=settings.seed)
        yield Answers(held, run, phraser)
        if phraser.counts:
            said = ", ".join(f"{count} {kind}" for kind, count in sorted(phraser.counts.items()))
            print(f"the model's words: {said}", file=sys.stderr)


def _settings_of(run: RunRow) -> Settings | None:
    """Return the settings that a run was stored with, None where this version cannot read them."""
    try:
        return msgspec.json.decode(run.config, type=Settings)
    except msgspec.DecodeError:
        return None
