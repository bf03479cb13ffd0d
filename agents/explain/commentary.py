"""
Describes a session in words: the market, its movers, the arguments, the decisions.

It reads the record of the session's decisions and nothing else. Time frames are the features'
own windows: a day, a week, a month, a quarter.
"""

from collections.abc import Sequence
from statistics import median

from agents.explain.cited import Answer, AnswerKind, Sentence, cite, line, listed
from agents.explain.facts import Archive, Record, Stamp
from agents.explain.readings import amount, leaning, say
from agents.explain.steps import LIMITS, allocation, market_said
from config.errors import ConfigError

MARKET = ("index_return_1", "index_return_20", "index_trend", "index_drawdown")
RISK = ("index_volatility", "vix", "correlation", "dispersion", "breadth")
RATES = ("vix_change_5", "yield_short", "yield_long", "yield_slope", "credit_spread")
FRAMES = {"return_1": "day", "return_5": "week", "return_20": "month", "return_60": "quarter"}
MOVERS = 3
MOST_DECIDED = 5

# What a high value of each says of a market that one would be long of.
SIGNS = {
    "index_return_20": 1.0,
    "index_trend": 1.0,
    "index_drawdown": 1.0,
    "breadth": 1.0,
    "regime_score": 1.0,
    "index_volatility": -1.0,
    "vix": -1.0,
    "vix_change_5": -1.0,
    "credit_spread": -1.0,
    "correlation": -1.0,
}


def comment(archive: Archive, day: str) -> Answer:
    """
    Return the commentary on a day (YYYY-MM-DD), or that there is none and the nearest days.

    Raises ConfigError where the run holds no decision at all.
    """
    stamps = archive.stamps()
    found = [stamp for stamp in stamps if stamp.day == day]
    if not found:
        return no_decision(archive.run().run_id, stamps, day, "commentary")
    records = [archive.record(stamp.decision_id) for stamp in found]
    sentences = [
        *market(records[-1]),
        *frames(records[-1]),
        *balance(records[-1]),
        *(sentence for record in records for sentence in decided(record)),
    ]
    return Answer(kind="commentary", known=True, sentences=tuple(sentences))


def no_decision(run_id: str, stamps: Sequence[Stamp], day: str, kind: AnswerKind) -> Answer:
    """Return that the library holds no decision on a day, and the nearest that it holds."""
    if not stamps:
        raise ConfigError(f"expected a run with decisions, was {run_id!r} without any")
    before = [stamp for stamp in stamps if stamp.day < day][-1:]
    after = [stamp for stamp in stamps if stamp.day > day][:1]
    near = [*before, *after]
    text = (
        f"The library does not hold a decision on {day}: the nearest are on "
        f"{listed(stamp.day for stamp in near)}"
    )
    cites = (*(cite("decision", stamp.decision_id) for stamp in near), cite("run", run_id))
    sentence = line("No decision", text, cites)
    return Answer(kind=kind, known=False, sentences=(sentence,))


def market(record: Record) -> list[Sentence]:
    """Return the index, the regime, risk, breadth and rates, as far as they are known."""
    if record.case is None:
        text = f"The library holds no case of {record.day}: what the market was like is not in it"
        return [record.line("Market", text)]
    score = record.macro("regime_score")
    regime = f"On {record.day} the market was {record.case.macro.regime}"
    regime += "" if score is None else f" (regime score {score:+.2f} of ±1)"
    sentences = [record.line("Market", regime)]
    for opening, names in (("Prices", MARKET), ("Risk", RISK), ("Rates", RATES)):
        known = market_said(record, names)
        if known:
            sentences.append(record.line("Market", f"{opening}: {', '.join(known)}"))
    return sentences + movers(record)


def movers(record: Record) -> list[Sentence]:
    """Return the instruments that moved most on the day, both ways."""
    moves = _moves(record, "return_1")
    ranked = sorted(moves, key=lambda s: (-moves[s], s))
    up = [s for s in ranked if moves[s] > 0.0][:MOVERS]
    down = [s for s in reversed(ranked) if moves[s] < 0.0][:MOVERS]
    if not up and not down:
        return []
    text = (
        f"Up most: {listed(f'{s} {moves[s]:+.2%}' for s in up)}; "
        f"down most: {listed(f'{s} {moves[s]:+.2%}' for s in down)} (log returns of the day)"
    )
    return [record.line("Market", text)]


def frames(record: Record) -> list[Sentence]:
    """Return the instruments' median log return over a day, a week, a month and a quarter."""
    said = []
    for name, frame in FRAMES.items():
        moves = _moves(record, name)
        if moves:
            up = sum(value > 0.0 for value in moves.values())
            middle = median(moves.values())
            said.append(f"over a {frame} {middle:+.2%} ({up} of {len(moves)} up)")
    if not said:
        return []
    return [record.line("Time frames", f"The median instrument's log return: {', '.join(said)}")]


def balance(record: Record) -> list[Sentence]:
    """Return what speaks for being long of the market and what against."""
    sides: dict[str, list[str]] = {"For": [], "Against": []}
    for name, sign in SIGNS.items():
        value = record.macro(name)
        if value is not None and (verdict := leaning(name, value) * sign):
            sides["For" if verdict > 0 else "Against"].append(say(name, value))
    return [
        record.line("Balance", f"{side} being long: {listed(said)}")
        for side, said in sides.items()
        if record.case is not None
    ]


def decided(record: Record) -> list[Sentence]:
    """Return what a decision came to and why: proposals, capital, cuts, orders."""
    topic = "Decided"
    strongest = sorted(record.decision.proposals, key=lambda p: (-abs(p.conviction), p.symbol))
    sentences = []
    for p in strongest[:MOST_DECIDED]:
        views = [f"{o.junior} {o.score:+.2f}" for o in record.opinions(p.symbol)]
        text = (
            f"{p.action} {p.symbol} at conviction {p.conviction:+.3f}, on {listed(views)}"
            if views
            else f"{p.action} {p.symbol} at conviction {p.conviction:+.3f}"
        )
        sentences.append(record.line(topic, text))
    if not strongest:
        sentences.append(record.line(topic, "Nothing was proposed: no junior spoke"))
    sentences += [line(topic, s.text, s.cites) for s in allocation(record)]
    for verdict in record.verdicts:
        cut = {item.limit for item in verdict.lines if item.limit}
        count = sum(item.limit != "" for item in verdict.lines)
        text = f"At {verdict.stage} the gate cut {count} of {len(verdict.lines)} weights"
        text += f", by {listed(LIMITS.get(name, name) for name in sorted(cut))}" if cut else ""
        sentences.append(record.line(topic, text))
    text = f"{len(record.orders)} orders followed: " + listed(
        f"{'buy' if o.quantity > 0 else 'sell'} {amount(abs(o.quantity))} {o.symbol}"
        for o in record.orders[:MOST_DECIDED]
    )
    if not record.orders:
        text = "No order followed"
    return [*sentences, record.line(topic, text)]


def _moves(record: Record, name: str) -> dict[str, float]:
    return {
        symbol: value
        for symbol in record.symbols
        if (value := record.feature(symbol, name)) is not None
    }
