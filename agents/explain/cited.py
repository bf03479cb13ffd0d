"""
The form of an answer: sentences, each with the records that it rests on.

Outside text (a headline, a model's rationale) is kept apart from our own words in `quoted`: it is
cleaned and shown between marks that it cannot close, and its numbers are no facts. It knows no
record.
"""

from collections.abc import Iterable
from typing import Literal

from agents.llm.prompts.quoting import quote
from agents.messages import Message

type CiteKind = Literal["run", "decision", "opinion", "order"]
type AnswerKind = Literal[
    "explanation", "commentary", "technical", "signal", "market", "strategy", "unknown"
]

ID_SHOWN = 10  # hex digits of an id in text; orders' ids are shown whole
QUOTE_SHOWN = 240


class Cite(Message, frozen=True, kw_only=True):
    """One record that a sentence rests on."""

    kind: CiteKind
    id: str

    def __str__(self) -> str:
        shown = self.id if self.kind == "order" else self.id[:ID_SHOWN]
        return f"{self.kind} {shown}"


class Sentence(Message, frozen=True, kw_only=True):
    """One sentence under a topic; `text` has no full stop, `quoted` is text from outside."""

    topic: str
    text: str
    cites: tuple[Cite, ...]
    quoted: str = ""

    def __str__(self) -> str:
        said = f"{self.text}: {quote(self.quoted, QUOTE_SHOWN)}" if self.quoted else self.text
        return f"{said}{brackets(self.cites)}."


class Answer(Message, frozen=True, kw_only=True):
    """
    An answer: `known` tells whether the library held one.

    `words` are a model's, "" where the sentences speak for themselves; `by` is who phrased it
    and `note` why a model's words were not taken.
    """

    kind: AnswerKind
    known: bool
    sentences: tuple[Sentence, ...]
    words: str = ""
    by: str = "rules"
    note: str = ""

    @property
    def cites(self) -> tuple[Cite, ...]:
        """All records that the answer rests on, in order of appearance."""
        return tuple(dict.fromkeys(c for s in self.sentences for c in s.cites))

    @property
    def text(self) -> str:
        """The answer in one paragraph."""
        return self.words or self.record

    @property
    def record(self) -> str:
        """The sentences, as the rules say them, in one paragraph."""
        return " ".join(map(str, self.sentences))

    @property
    def page(self) -> str:
        """The answer as a page: a model's words if any, then a heading a topic, a line a fact."""
        lines = [self.words] if self.words else []
        topic = ""
        for sentence in self.sentences:
            if sentence.topic != topic:
                topic = sentence.topic
                lines += ["", topic] if lines else [topic]
            lines.append(f"  {sentence}")
        return "\n".join(lines)


def line(topic: str, text: str, cites: tuple[Cite, ...]) -> Sentence:
    """Return a sentence of our own words."""
    return Sentence(topic=topic, text=text, cites=cites)


def cite(kind: CiteKind, record_id: str) -> Cite:
    """Return the cite of a record."""
    return Cite(kind=kind, id=record_id)


def brackets(cites: Iterable[Cite]) -> str:
    """Return " [decision …, opinion …]", "" without any."""
    said = ", ".join(map(str, cites))
    return f" [{said}]" if said else ""


def listed(words: Iterable[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    *first, last = list(words) or ["none"]
    return f"{', '.join(first)} and {last}" if first else last
