"""Prints the answers of `explain`, `commentary` and `chat`, and reads a person's questions."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from agents.explain.cited import Answer
from learning.experience.library import RunRow
from ops.printing import print_json

PROMPT = "? "


def print_page(answer: Answer, as_json: bool) -> None:
    """Print an answer with all that it cites."""
    if as_json:
        print_json(_facts(answer))
    else:
        print(_noted(answer, answer.page))


def print_answers(turns: Sequence[tuple[str, Answer]]) -> None:
    """Print questions and their answers as one list of JSON."""
    print_json([_facts(answer) | {"question": question} for question, answer in turns])


def print_turn(question: str, answer: Answer, as_json: bool, *, repeated: bool) -> None:
    """Print one answer of a conversation; the question is `repeated` where nobody typed it."""
    if as_json:
        print_json(_facts(answer) | {"question": question})
        return
    asked = f"{PROMPT}{question}\n" if repeated else ""
    print(f"{asked}{_noted(answer, answer.text)}\n", flush=True)


def typed_questions(run: RunRow) -> Iterator[str]:
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


def _noted(answer: Answer, text: str) -> str:
    return f"({answer.note})\n{text}" if answer.note else text
