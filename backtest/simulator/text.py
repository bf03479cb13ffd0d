"""
Headlines with a planted sentiment, and the ideal reader that undoes them.

A reading (a standard normal sentiment seen through noise) is cut into five levels; a level
becomes a clause of a small grammar: plain, hedged or negated, with subjects, periods and tails
varied around it. A lexicon gets the sign mostly but not always right, because some clauses say
good things with bad words ("ends years of losses") or the reverse ("fails to deliver growth").
The file knows no market: it turns numbers into text and text into numbers.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product

import numpy as np
from scipy.stats import norm

from agents.arrays import FloatArray

CUTS = (-1.3, -0.5, 0.5, 1.3)  # in standard deviations of a reading

_METRIC = ("revenue", "orders", "shipments", "margins", "bookings", "earnings")
_PLACE = ("in Europe", "in Asia", "at home", "across its main unit", "at its largest plant")

# level: clause templates; {m} a metric, {p} a place
_CLAUSES: dict[int, tuple[str, ...]] = {
    2: (
        "reports record {m} and raises its outlook",
        "smashes forecasts as {m} surge {p}",
        "wins its biggest contract ever as {m} soar",
        "announces an excellent quarter with outstanding {m} {p}",
        "says losses {p} are over as {m} rebound sharply",
    ),
    1: (
        "posts a modest gain in {m} {p}",
        "sees {m} improve slightly {p}",
        "beats estimates narrowly on better {m}",
        "says there is no weakness in {m} {p}",
        "avoids the feared decline in {m}",
        "no longer expects {m} to fall {p}",
        "is upgraded after solid {m}",
    ),
    0: (
        "holds its annual meeting on {m} {p}",
        "will present its {m} to analysts {p}",
        "appoints a new head of reporting on {m}",
        "keeps its guidance for {m} {p}",
        "says strong {m} {p} offset weak demand elsewhere",
        "publishes its calendar for {m}",
    ),
    -1: (
        "sees {m} soften {p}",
        "posts a small miss on {m}",
        "is downgraded on doubts over {m} {p}",
        "fails to deliver the growth in {m} that it promised",
        "is not confident that {m} will improve {p}",
        "says gains in {m} are not likely to last",
        "warns that {m} may slip {p}",
    ),
    -2: (
        "plunges into a loss as {m} collapse {p}",
        "slashes its outlook after terrible {m}",
        "faces a fraud probe over {m} {p}",
        "says record {m} were misstated {p}",
        "warns of a severe crisis as {m} crash",
    ),
}
_LEADS = ("", "Update: ", "Filing: ", "Analysts: ")
_CHATTER_LEADS = ("Forum talk: ", "Rumour: ", "Unconfirmed: ", "Heard on the floor: ")
_TAILS = ("", ", chief executive says", ", according to a statement", " this quarter", " today")
_BODIES = (
    "",
    "The company did not comment further.",
    "The next report is due after the end of the quarter.",
    "Trading volume was in line with its average.",
    "A call with analysts is planned.",
)


def _expand(template: str) -> list[str]:
    metrics = _METRIC if "{m}" in template else ("",)
    places = _PLACE if "{p}" in template else ("",)
    return [template.format(m=m, p=p) for m, p in product(metrics, places)]


@cache
def _reader() -> tuple[re.Pattern[str], dict[str, int]]:
    table = {
        clause: level
        for level, templates in _CLAUSES.items()
        for template in templates
        for clause in _expand(template)
    }
    longest_first = sorted(table, key=lambda c: (-len(c), c))
    return re.compile("|".join(map(re.escape, longest_first))), table


def level_of(reading: float) -> int:
    """Return the level -2..2 of a reading in units of its standard deviation."""
    return int(np.searchsorted(CUTS, reading)) - 2


@cache
def level_values() -> tuple[float, ...]:
    """Return the mean of a standard normal reading within each level, -2 first."""
    edges = np.array([-np.inf, *CUTS, np.inf])
    density = norm.pdf(edges)
    return tuple(float(v) for v in (density[:-1] - density[1:]) / np.diff(norm.cdf(edges)))


@cache
def read_variance() -> float:
    """Return the variance of `read` over standard normal readings: 1 less what levels lose."""
    share = np.diff(norm.cdf(np.array([-np.inf, *CUTS, np.inf])))
    return float(share @ np.square(level_values()))


def write(name: str, reading: float, wire: bool, draws: FloatArray) -> tuple[str, str]:
    """
    Return a headline and a body about `name`.

    `reading` is in standard deviations; `draws` are five uniforms on [0, 1).
    """
    templates = _CLAUSES[level_of(reading)]
    clause = _pick(templates, draws[0]).format(
        m=_pick(_METRIC, draws[1]), p=_pick(_PLACE, draws[2])
    )
    lead = _pick(_LEADS if wire else _CHATTER_LEADS, draws[3])
    tail, body = divmod(int(draws[4] * len(_TAILS) * len(_BODIES)), len(_BODIES))
    return f"{lead}{name} {clause}{_TAILS[tail]}", _BODIES[body]


def read(headline: str) -> float:
    """
    Return what an ideal reader takes from a headline of this grammar.

    That is the mean standard normal reading of the clause's level; 0 where no clause is found.
    """
    pattern, table = _reader()
    match = pattern.search(headline)
    return 0.0 if match is None else level_values()[table[match.group()] + 2]


def _pick(options: tuple[str, ...], draw: float) -> str:
    return options[int(draw * len(options))]
