"""
A fast sentiment score for short financial text, -2 (very bearish) to 2 (very bullish).

The word list is VADER's (Hutto and Gilbert 2014), overridden by SentiBigNomics (Consoli et al.
2022) and Henry's (2008), both as the finvader package carries them, and by the terms of
`terms.py`. The scorer is ours and follows VADER's idea (valence, negation, boosters, "but",
capitals, exclamation marks) with one rule of its own: a word of direction takes its sign from the
quantity that it moves, so that "cuts costs" is good and "profit falls" is bad. It knows neither
names nor facts, sees no irony, and reads English only. finvader is never imported: its loader
needs nltk and downloads at run time; its list files are read as text.
"""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.util import find_spec
from math import sqrt
from pathlib import Path
from typing import NamedTuple

from agents.juniors.terms import DIRECTIONS, EMOJI, PHRASES, QUANTITIES, TERMS, listed
from config.errors import ConfigError

SENTIBIGNOMICS_SCALE = 3.5  # median ratio of VADER's to its valences on the words of both
SENTIBIGNOMICS_FLOOR = 0.25  # fainter entries are noise on short text
PAIRED = 2.2  # valence of a direction and its quantity
NEGATED = -0.74  # VADER's factor
ALPHA = 15.0  # VADER's normaliser
SATURATION = 2.0
LONGEST = 2_000  # characters read

NOISE = re.compile(r"https?://\S*|www\.\S+|\$[A-Za-z][\w.]*|@\w+|&\w+;|\bRT\b|[…]")
TOKEN = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?|[+-]?\d[\d.,]*%?|[.,;:!?]|[" + "".join(EMOJI) + r"]")
MOVE = re.compile(r"([+-])\d[\d.,]*%")

NEGATORS = frozenset(
    listed(
        """no not never none nobody nothing neither nor without hardly barely scarcely rarely
        cannot isnt wasnt arent werent dont doesnt didnt cant couldnt wont wouldnt shouldnt aint
        hasnt havent hadnt lack lacks lacking unable refuses refused fails failed avoid avoids
        avoided averts averted"""
    )
)
BOOSTERS: dict[str, float] = {
    **dict.fromkeys(
        listed(
            """very extremely hugely sharply significantly massively strongly really so super
            totally heavily huge massive big deeply highly incredibly insanely absolutely
            steeply substantially dramatically major further fucking freaking crazy"""
        ),
        1.25,
    ),
    **dict.fromkeys(
        listed(
            """slightly somewhat modestly marginally barely partly little bit mildly kinda sorta
            minor almost"""
        ),
        0.7,
    ),
}
TURNS = frozenset(listed("but however yet nevertheless"))
CONCESSIONS = frozenset(listed("despite although though"))
BREAKS = frozenset(".,;:!?")
# Words that do not count towards the three that a negator reaches.
LIGHT = frozenset(listed("the a an of to that its it in be been is are was any longer this"))
# Between a direction and its quantity these end the search: "fell on costs" is no fall in costs.
FENCES = (
    BREAKS
    | TURNS
    | frozenset(listed("after on as amid from by to and with than at while for into over"))
)


class _Lists(NamedTuple):
    words: dict[str, float]
    phrases: dict[str, tuple[tuple[tuple[str, ...], float], ...]]


@lru_cache(maxsize=1 << 17)
def sentiment(text: str) -> float:
    """
    Return the sentiment of a headline or post, in -2..2; 0.0 where no word of the list occurs.

    Cashtags, addresses, mentions and retweet marks are ignored, and what follows the first
    2,000 characters.
    """
    tokens = TOKEN.findall(NOISE.sub(" ", text[:LONGEST].replace("’", "'")))
    lists = _lists()
    words = [token.lower() for token in tokens]
    values = [lists.words.get(word, 0.0) for word in words]
    _phrases(words, values, lists.phrases)
    _directions(words, values)
    hits = [i for i, value in enumerate(values) if value]
    if not hits:
        return 0.0
    shouting = text.isupper()
    for i in hits:
        values[i] *= _modifier(words, i)
        if not shouting and len(tokens[i]) > 2 and tokens[i].isupper():
            values[i] *= 1.15
    _clauses(words, values)
    total = sum(values) * (1.0 + 0.05 * min(words.count("!"), 3))
    return SATURATION * total / sqrt(total * total + ALPHA)


def _phrases(
    words: list[str],
    values: list[float],
    phrases: dict[str, tuple[tuple[tuple[str, ...], float], ...]],
) -> None:
    """Give each phrase its value at its first word, and blank its words."""
    for i, word in enumerate(words):
        for phrase, value in phrases.get(word, ()):
            end = i + len(phrase)
            if tuple(words[i:end]) == phrase:
                words[i:end] = [""] * len(phrase)
                values[i:end] = [value] + [0.0] * (len(phrase) - 1)
                break


def _directions(words: list[str], values: list[float]) -> None:
    """Pair each direction with the nearest quantity within three words, after it first."""
    taken: set[int] = set()
    for i, word in enumerate(words):
        move = DIRECTIONS.get(word)
        if move is None:
            if word[:1] in "+-" and MOVE.fullmatch(word):
                values[i] = 1.2 if word[0] == "+" else -1.2
            continue
        for j in _neighbours(words, i):
            if j not in taken and words[j] in QUANTITIES:
                values[i], values[j] = move * QUANTITIES[words[j]] * PAIRED, 0.0
                taken.update((i, j))
                break


def _neighbours(words: list[str], i: int) -> Iterator[int]:
    for steps in (range(i + 1, min(i + 4, len(words))), range(i - 1, max(i - 4, -1), -1)):
        for j in steps:
            if words[j] in FENCES:
                break
            yield j


def _modifier(words: list[str], i: int) -> float:
    """Return the factor that negators and boosters near a word put on it."""
    factor = 1.0
    heavy = 0
    for j in range(i - 1, -1, -1):
        word = words[j]
        if word in LIGHT:
            continue
        heavy += 1
        if heavy > 3 or word in BREAKS or word in TURNS:
            break
        if word in NEGATORS or word.endswith("n't"):
            factor *= NEGATED
        elif heavy <= 2 and word in BOOSTERS:
            factor *= BOOSTERS[word]
    if i + 1 < len(words) and words[i] in DIRECTIONS:
        factor *= BOOSTERS.get(words[i + 1], 1.0)
    return factor


def _clauses(words: list[str], values: list[float]) -> None:
    """Weigh what follows "but" up and what precedes it down; what "despite" concedes, down."""
    turn = next((i for i, word in enumerate(words) if word in TURNS), None)
    if turn is not None:
        values[:turn] = [0.5 * value for value in values[:turn]]
        values[turn:] = [1.5 * value for value in values[turn:]]
    start = next((i for i, word in enumerate(words) if word in CONCESSIONS), None)
    if start is not None:
        end = next((i for i in range(start, len(words)) if words[i] in BREAKS), len(words))
        values[start:end] = [0.3 * value for value in values[start:end]]


@cache
def _lists() -> _Lists:
    words = {
        word: float(valence)
        for word, valence, *_ in (
            line.split("\t") for line in _read("vaderSentiment", "vader_lexicon.txt").splitlines()
        )
    }
    for word, valence in _entries("SentiBignomics.py", "senti_bignomics").items():
        if abs(valence) >= SENTIBIGNOMICS_FLOOR:
            words[word] = SENTIBIGNOMICS_SCALE * valence
        elif word in words and words[word] * valence <= 0.0:
            words[word] = 0.0
    words |= _entries("Henry.py", "henry_lex")
    words |= TERMS | EMOJI | dict.fromkeys((*BOOSTERS, *NEGATORS, *TURNS), 0.0)
    heads: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for phrase, value in PHRASES.items():
        parts = tuple(phrase.split())
        heads.setdefault(parts[0], []).append((parts, value))
    ordered = {
        head: tuple(sorted(found, key=lambda f: -len(f[0]))) for head, found in heads.items()
    }
    return _Lists({word: value for word, value in words.items() if value}, ordered)


def _entries(file: str, name: str) -> dict[str, float]:
    """Read the `name['word'] = number` lines of one of finvader's list files."""
    line = re.compile(rf"^\s*{name}\['([^']+)'\]\s*=\s*(-?[\d.]+)\s*$", re.MULTILINE)
    return {word: float(valence) for word, valence in line.findall(_read("finvader", file))}


def _read(package: str, file: str) -> str:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"expected the package {package} to be installed, was missing")
    return (Path(spec.submodule_search_locations[0]) / file).read_text(encoding="utf-8")
