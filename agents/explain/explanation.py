"""
Explains a decision from the route to the reward, for the instruments with most at stake.

It puts the steps in order and adds what concerns the whole decision. It knows no model and no
store.
"""

from agents.explain.cited import Answer, Sentence, cite, line
from agents.explain.facts import Record, minute_of
from agents.explain.steps import (
    MOST_SYMBOLS,
    allocation,
    features,
    gate,
    market_said,
    opinions,
    outcome,
    proposal,
    route,
    target,
    trades,
)


def explain(record: Record, symbol: str | None = None) -> Answer:
    """Return why a decision was made: of one instrument, or of those with most at stake."""
    chosen = (symbol,) if symbol else telling_symbols(record)
    sentences = [*_opening(record, chosen, symbol)]
    for name in chosen:
        sentences += explain_symbol(record, name)
    sentences += [*allocation(record), *_risk(record), *_closing(record)]
    return Answer(kind="explanation", known=True, sentences=tuple(sentences))


def explain_symbol(record: Record, symbol: str) -> list[Sentence]:
    """Return one instrument's way through a decision."""
    return [
        *route(record, symbol),
        *opinions(record, symbol),
        *features(record, symbol),
        *proposal(record, symbol),
        *target(record, symbol),
        *gate(record, symbol),
        *trades(record, symbol),
        *outcome(record, symbol),
    ]


def telling_symbols(record: Record) -> tuple[str, ...]:
    """Return the instruments with most at stake: the strongest convictions, then weights."""
    conviction = {p.symbol: abs(p.conviction) for p in record.decision.proposals}
    weights = record.decision.allocation.weights
    names = sorted({*record.symbols, *weights})
    names.sort(key=lambda s: (-conviction.get(s, 0.0), -abs(weights.get(s, 0.0)), s))
    return tuple(names[:MOST_SYMBOLS])


def _opening(record: Record, chosen: tuple[str, ...], symbol: str | None) -> list[Sentence]:
    d = record.decision
    cites = (record.cite, cite("run", record.run_id))
    text = (
        f"On {record.day} the {d.minds} minds decided on {len(d.routes)} instruments "
        f"(trigger: {d.trigger}); the decision could be acted on "
        f"{(d.ts_init - d.ts_event) / 1e9:g} seconds later"
    )
    sentences = [line("Decision", text, cites)]
    if record.case is None:
        text = "The library holds no case of this decision: features and news are missing here"
        sentences.append(record.line("Decision", text))
    elif (score := record.macro("regime_score")) is not None:
        market = ", ".join(market_said(record, ("index_return_20", "index_volatility", "breadth")))
        text = f"The market was {record.case.macro.regime} (regime score {score:+.2f}): {market}"
        sentences.append(record.line("Decision", text))
    if symbol is None and len(chosen) < len(record.symbols):
        text = f"Told here are the {len(chosen)} of {len(record.symbols)} with most at stake"
        sentences.append(record.line("Decision", text))
    return sentences


def _risk(record: Record) -> list[Sentence]:
    return [
        record.line(
            "Gate",
            f"At {verdict.stage}, {minute_of(verdict.ts_event)}, the book allowed had a one-day "
            f"99% value at risk of {verdict.var_frac:.2%}, and limits cut "
            f"{sum(item.limit != '' for item in verdict.lines)} of {len(verdict.lines)} weights",
        )
        for verdict in record.verdicts
        if verdict.var_frac is not None
    ]


def _closing(record: Record) -> list[Sentence]:
    own = [r for r in record.rewards if r.learner == "decision" and not r.symbol]
    if not own:
        text = "The library holds no reward of this decision: its outcomes had not closed"
        return [record.line("Reward", text)]
    return [record.line("Reward", f"The decision's reward was {own[0].value:.4f}")]
