"""
Holds a conversation about one run: answers questions with citations, and keeps the focus.

In focus are an instrument, a decision and a kind of question; "why?", "and MSFT?" and "the day
before?" move one of them. What the library does not hold - a name, a day, the future - is said
to be missing and moves nothing. It knows no model: `phrasing` may say its answers in other words.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from agents.explain.cited import Answer, Sentence, cite, line, listed
from agents.explain.commentary import balance, frames, market, no_decision
from agents.explain.explanation import explain_symbol, telling_symbols
from agents.explain.facts import Archive, Record, Stamp
from agents.explain.question import OVERVIEW, Kind, Question, Shift, Topic, understand
from agents.explain.readings import READINGS, amount, say
from agents.explain.steps import allocation, gate, opinions, proposal, route, target
from agents.explain.strategy import strategy
from agents.features.ledgers import DAY_NS
from config.errors import ConfigError

WEEK_NS = 7 * DAY_NS
TOPICS: tuple[Topic, ...] = ("allocator", "limits", "supervisor")
ASKABLE = (
    "ask about an instrument's indicators, the juniors' signals, the market, or how the system "
    "allocates, limits and performs"
)


class Conversation:
    """
    One conversation. Raises ConfigError where the run holds no decision.

    It begins at the newest decision, with no instrument in focus.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._stamps = tuple(archive.stamps())
        if not self._stamps:
            raise ConfigError(f"expected a run with decisions, was {archive.run().run_id!r}")
        self._place = len(self._stamps) - 1
        self._symbols: tuple[str, ...] = ()
        self._facts = archive.run()
        self._kind: Kind | None = None
        self._about: Kind = "signal"  # the last kind that was about instruments
        self._features: tuple[str, ...] = ()
        self._topics: tuple[Topic, ...] = ()

    @property
    def focus(self) -> str:
        """The decision in focus."""
        return self._stamps[self._place].decision_id

    def ask(self, text: str) -> Answer:
        """Return the answer to a question, and keep what it was about."""
        newest = self._archive.record(self._stamps[-1].decision_id)
        q = understand(text, newest.symbols)
        if q.bad_day:
            return self._unknown(f"the day “{q.bad_day}”: days are written YYYY-MM-DD")
        if q.unknown:
            held = listed(newest.symbols[:12]) + (" and more" if len(newest.symbols) > 12 else "")
            return self._unknown(f"{listed(q.unknown)}: its instruments are {held}")
        symbols = q.symbols or self._symbols
        if q.future:
            return self._future(newest, symbols)
        place = self._placed(q)
        if isinstance(place, Answer):
            return place
        kind = q.kind or (self._about if q.symbols else self._kind or "signal")
        if not (q.kind or q.why or q.symbols or q.day or q.shift):
            return self._unknown(f"an answer to that: {ASKABLE}")
        if q.kind == "technical" and not q.symbols and not self._symbols:
            if len(newest.symbols) > 1:
                return self._unknown(
                    f"which instrument is meant: name one of {listed(newest.symbols)}"
                )
            symbols = newest.symbols
        self._place, self._symbols, self._kind = place, symbols, kind
        self._about = kind if kind in ("technical", "signal") else self._about
        self._features = q.features if q.kind == "technical" else self._features
        self._topics = (q.topics or TOPICS) if q.kind == "strategy" else self._topics
        record = self._archive.record(self.focus)
        if q.why and q.kind in (None, "signal"):
            return self._why(record, kind)
        return self._answer(record, kind)

    def _answer(self, record: Record, kind: Kind) -> Answer:
        if kind == "technical":
            return technical(record, self._symbols, self._features or OVERVIEW)
        if kind == "signal":
            return signal(record, self._symbols or telling_symbols(record))
        if kind == "market":
            said = [*market(record), *frames(record), *balance(record)]
            return Answer(kind="market", known=record.case is not None, sentences=tuple(said))
        topics = self._topics or TOPICS
        said = [s for topic in topics for s in strategy(topic, self._facts, record)]
        return Answer(kind="strategy", known=True, sentences=tuple(said))

    def _why(self, record: Record, kind: Kind) -> Answer:
        """Return the steps behind what was said last."""
        said = [_dated(record)]
        if kind in ("market", "strategy"):
            said += [*balance(record), *allocation(record)]
        else:
            for symbol in self._symbols or telling_symbols(record)[:1]:
                said += explain_symbol(record, symbol)
        return Answer(kind="explanation", known=True, sentences=tuple(said))

    def _placed(self, q: Question) -> int | Answer:
        """Return the place of the decision that a question is about, or that there is none."""
        if q.day:
            on = [i for i, stamp in enumerate(self._stamps) if stamp.day == q.day]
            if not on:
                return no_decision(self._facts.run_id, self._stamps, q.day, "unknown")
            return on[-1]
        if q.shift is None:
            return self._place
        place = self._moved(q.shift)
        if 0 <= place < len(self._stamps):
            return place
        if place < 0:
            first = self._stamps[0]
            return self._unknown(f"a decision before {first.day}, its first one", first)
        newest = self._stamps[-1]
        return self._unknown(f"a decision after {newest.day}, its newest one", newest)

    def _moved(self, shift: Shift) -> int:
        """Return the place that a shift leads to, outside the run where there is none."""
        if shift in ("newest", "first"):
            return len(self._stamps) - 1 if shift == "newest" else 0
        if shift in ("before", "after"):
            return self._place + (1 if shift == "after" else -1)
        ts = [stamp.ts_event for stamp in self._stamps]
        if shift == "week before":
            return bisect_right(ts, ts[self._place] - WEEK_NS) - 1
        return bisect_left(ts, ts[self._place] + WEEK_NS)

    def _future(self, newest: Record, symbols: Sequence[str]) -> Answer:
        """Return that the future is not recorded, and what the newest decision expected."""
        text = f"The library does not hold the future: its newest decision is of {newest.day}"
        said = [newest.line("Unknown", text)]
        for symbol in symbols:
            if found := newest.proposal(symbol):
                text = (
                    f"What it holds is an expectation, no price: {found.action} {symbol} with "
                    f"conviction {found.conviction:+.3f}"
                )
                said.append(newest.line("Unknown", text))
        return Answer(kind="unknown", known=False, sentences=tuple(said))

    def _unknown(self, what: str, near: Stamp | None = None) -> Answer:
        """Return that the library does not hold something."""
        stamp = near or self._stamps[self._place]
        cites = (cite("decision", stamp.decision_id), cite("run", self._facts.run_id))
        said = line("Unknown", f"The library does not hold {what}", cites)
        return Answer(kind="unknown", known=False, sentences=(said,))


def technical(record: Record, symbols: Sequence[str], features: Sequence[str]) -> Answer:
    """Return features of instruments in words and numbers; a masked one is said to be missing."""
    said: list[Sentence] = []
    any_known = False
    for symbol in symbols:
        known = {f: v for f in features if (v := record.feature(symbol, f)) is not None}
        state = record.state(symbol)
        if known and state is not None:
            any_known = True
            words = ", ".join(say(name, value) for name, value in known.items())
            text = f"On {record.day} {symbol} closed at {amount(state.price)}: {words}"
            said.append(record.line("Technical", text))
        missing = [READINGS[name].label for name in features if name not in known]
        if missing:
            text = f"The library does not hold {listed(missing)} of {symbol} on {record.day}"
            said.append(record.line("Technical", text))
    return Answer(kind="technical", known=any_known, sentences=tuple(said))


def signal(record: Record, symbols: Sequence[str]) -> Answer:
    """Return what the strategist proposed and the juniors said, and what the gate let through."""
    said = [_dated(record)]
    for symbol in symbols:
        said += proposal(record, symbol)[:1]
        said += route(record, symbol)[:1]
        said += opinions(record, symbol)
        said += target(record, symbol)
        said += gate(record, symbol)
    return Answer(kind="signal", known=True, sentences=tuple(said))


def _dated(record: Record) -> Sentence:
    text = f"This was decided on {record.day}; it is a record, not advice"
    return record.line("Signal", text)
