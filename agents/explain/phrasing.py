"""
Lets a language model phrase an answer; it may only say what the record says.

The facts are gathered by rules and shown as numbered sentences, outside text among them between
its marks. What the model writes is then held against the facts: every
number, day, name and id must be among them and at least one id must be cited, else the rule-backed
answer is given and the reason is kept. A check of words is no proof of their truth: it cannot
tell which number belongs to which noun.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from agents.explain.cited import Answer, Sentence, brackets
from agents.llm.chat import ChatBackend, ChatRequest, Failure
from agents.llm.prompts.prompt_file import load_prompt
from agents.llm.prompts.quoting import quote
from config.errors import Retryable

PROMPT = "explainer-answer"
MAX_TOKENS = 192
TEMPERATURE = 0.7
QUESTION_LIMIT = 400  # characters of a question that a prompt shows
SHOWN = 12  # facts that a prompt shows, the first: a small model reads each for seconds
TURNS = 3  # earlier questions that a prompt shows

ID = re.compile(
    r"(?<=decision )[0-9a-f]{6,24}\b|(?<=opinion )[0-9a-f]{6,24}\b|(?<=run )[0-9a-f]{6,24}\b"
    r"|\b(?=[0-9a-f]*\d)(?=[0-9]*[a-f])[0-9a-f]{6,24}\b|\bO-[\w-]+"
)
DAY = re.compile(r"\b\d{4}-\d{2}-\d{2}\b(?:[ T]\d{2}:\d{2})?")
NUMBER = re.compile(r"(?<![\w.])([-+−]?)(\d[\d,]*(?:\.\d+)?)")
CAPITALS = re.compile(r"\b[A-Z][A-Z0-9]{1,9}\b")
FALLING = re.compile(
    r"\b(fell|fall\w*|down|low\w*|los[est]\w*|below|negative\w*|minus|declin\w*|drop\w*|bear\w*"
    r"|sell\w*|under|weak\w*|behind|lag\w*|short)\b"
)


class Phraser:
    """
    Has answers phrased by a model, and counts how often its words were taken or refused.

    `counts` has "taken" and each reason's kind: "number", "day", "name", "id", "uncited",
    "empty", and the kinds of `agents.llm.chat.Failure`.
    """

    def __init__(self, backend: ChatBackend, *, seed: int = 0) -> None:
        self._backend = backend
        self._seed = seed
        self._asked: list[str] = []
        self.counts: Counter[str] = Counter()

    def phrase(self, question: str, answer: Answer) -> Answer:
        """Return the answer in the model's words, or as it was with the reason in `note`."""
        earlier, self._asked = self._asked[-TURNS:], [*self._asked, question]
        if not answer.known:
            return answer  # there is nothing to phrase, and a model would fill the gap
        request = ask(question, answer, earlier, self._seed + len(self._asked) - 1)
        try:
            reply = self._backend.complete([request])[0]
            label = self._backend.identity("explainer").label
        except Retryable as e:  # a conversation goes on without its model
            return self._refused(answer, "unreachable", f"the model did not answer: {e}")
        if isinstance(reply, Failure):
            return self._refused(answer, reply.kind, f"the model did not answer: {reply.kind}")
        words = " ".join(reply.text.split())
        wrong = mismatch(words, answer.sentences[:SHOWN])
        if wrong is not None:
            kind, reason = wrong
            note = f"the model's words did not match the record: {reason}"
            return self._refused(answer, kind, note)
        self.counts["taken"] += 1
        return msgspec.structs.replace(answer, words=words, by=label)

    def _refused(self, answer: Answer, kind: str, note: str) -> Answer:
        self.counts[kind] += 1
        return msgspec.structs.replace(answer, note=note)


def ask(question: str, answer: Answer, earlier: Sequence[str], seed: int) -> ChatRequest:
    """Return the request to phrase an answer; outside text in it is quoted."""
    facts = "\n".join(f"{i}. {s}" for i, s in enumerate(answer.sentences[:SHOWN], 1))
    before = "; ".join(quote(q, QUESTION_LIMIT) for q in earlier) or "none"
    messages = load_prompt(PROMPT).fill(
        facts=facts, earlier=before, question=quote(question, QUESTION_LIMIT)
    )
    return ChatRequest(
        role="explainer",
        messages=messages,
        max_tokens=MAX_TOKENS,
        temperature=TEMPERATURE,
        seed=seed,
    )


def mismatch(words: str, facts: Sequence[Sentence]) -> tuple[str, str] | None:
    """
    Return what in a model's words is not among the facts, as (kind, reason); None if all is.

    A number may be rounded, to no fewer digits than it shows, and may lose its minus sign only
    in a sentence that says that something is low or falls. Quoted text is no fact.
    """
    if not words:
        return "empty", "it said nothing"
    said = [f"{s.text}{brackets(s.cites)}" for s in facts]
    ids = {cite.id for s in facts for cite in s.cites}
    cited = ID.findall(words)
    for found in cited:
        if not any(i.startswith(found) for i in ids):
            return "id", f"no record {found} is among the facts"
    if not cited:
        return "uncited", "it cites no record"
    days = {day for s in said for day in DAY.findall(s)}
    for day in DAY.findall(words):
        if day not in days and not any(known.startswith(day) for known in days):
            return "day", f"{day} is not among the facts"
    names = {name for s in said for name in CAPITALS.findall(s)}
    for name in CAPITALS.findall(ID.sub(" ", words)):
        if name not in names:
            return "name", f"{name} is not among the facts"
    numbers = {n for s in facts for n, _ in _numbers(s.text)}
    for sentence in re.split(r"(?<=[.!?])\s+", words):
        falls = FALLING.search(sentence.lower()) is not None
        for value, digits in _numbers(sentence):
            if not _among(value, digits, numbers, falls):
                return "number", f"{value:g} is not among the facts"
    return None


def _numbers(text: str) -> list[tuple[float, int]]:
    """Return the numbers of a text with their decimals; ids and days are none."""
    rest = DAY.sub(" ", ID.sub(" ", text))
    found = []
    for sign, body in NUMBER.findall(rest):
        plain = body.replace(",", "")
        value = -float(plain) if sign in ("-", "−") else float(plain)
        found.append((value, len(plain.partition(".")[2])))
    return found


def _among(value: float, digits: int, facts: Collection[float], falls: bool) -> bool:
    near = 0.5 * 10.0**-digits * (1.0 + 1e-9)
    return any(
        abs(fact - value) <= near or (falls and abs(abs(fact) - value) <= near) for fact in facts
    )
