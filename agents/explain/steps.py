"""
Puts a decision's steps into words: route, opinions, proposal, weight, gate, trades, outcome.

One function a step and an instrument; each sentence cites the records it was read from, and what
the record does not hold is said to be missing. It knows no model and no store.
"""

from collections.abc import Sequence

from agents.explain.cited import Cite, Sentence, cite, line, listed
from agents.explain.facts import Record, day_of, minute_of
from agents.explain.readings import amount, say, strength
from agents.features.batch import INSTRUMENT_FEATURES
from agents.features.routing_context import CONTEXT_NAMES
from agents.messages import HORIZON_SESSIONS, ROUTES, Opinion, Route, VerdictLine

MOST_SYMBOLS = 6  # that an explanation of a whole decision goes through
MOST_FEATURES = 6
FEATURE = "feature:"
LIMITS = {
    "long_only": "the rule that this instrument is not sold short",
    "kill_switch": "the kill switch",
    "drawdown": "the drawdown breaker",
    "stop_loss": "the stop loss and its cooldown",
    "history": "the least history that an instrument needs",
    "stale": "the age of its price",
    "collar": "the price collar",
    "position": "the position limit",
    "group": "the group limit",
    "gross": "the gross limit",
    "correlation": "the limit on correlation exposure",
    "var": "the limit on value at risk",
    "order_rate": "the limit on orders a session",
    "volatility": "the volatility target",
    "volume": "the limit on the share of a session's volume",
}
REASONS = {
    "decision": "because the decision asked for it",
    "stop": "because the stop was hit",
    "limit": "because a limit asked for less",
}


def route(record: Record, symbol: str) -> list[Sentence]:
    """Return which juniors were asked and by which upper confidence bounds."""
    found = record.route(symbol)
    if found is None:
        return [record.line(symbol, f"No route to {symbol} is recorded")]
    asked = listed(found.juniors)
    text = f"The supervisor asked {asked} about {symbol}"
    if len(found.scores) == len(ROUTES):
        text += _bounds(found)
    if found.propensity < 1.0:
        text += f"; it was drawn with probability {found.propensity:.2f}"
    sentences = [record.line(symbol, text)]
    if len(found.context) == len(CONTEXT_NAMES):
        context = dict(zip(CONTEXT_NAMES, found.context, strict=True))
        kind = max(
            ("news", "technical", "fundamental", "mixed"), key=lambda k: context[f"query_{k}"]
        )
        seen = (
            f"It saw a {kind} question, volatility {context['volatility']:.2f} and trend "
            f"strength {context['trend_strength']:.2f} of 1, news freshness "
            f"{context['news_freshness']:.2f} and fundamentals freshness "
            f"{context['fundamentals_freshness']:.2f}"
        )
        sentences.append(record.line(symbol, seen))
    return sentences


def _bounds(found: Route) -> str:
    """Return where the taken route's bound stood among those that could be taken."""
    known = {arm: score for arm, score in enumerate(found.scores) if score is not None}
    if found.arm not in known:
        return ""
    if len(known) == 1:
        return ": no other junior had evidence in the case"
    best = sorted(known, key=lambda arm: -known[arm])
    other = next(arm for arm in best if arm != found.arm)
    rank = best.index(found.arm) + 1
    place = "the highest" if rank == 1 else f"number {rank}"
    of_all = "seven" if len(known) == len(ROUTES) else f"{len(known)} that could be taken"
    return (
        f": the upper confidence bound of this route's reward was {place} of the {of_all} at "
        f"{known[found.arm]:.2f}, against {known[other]:.2f} for {listed(ROUTES[other])}"
    )


def opinions(record: Record, symbol: str) -> list[Sentence]:
    """Return what each junior said, on what evidence, and who abstained and why."""
    sentences = []
    for o in record.opinions(symbol):
        cites = (cite("opinion", o.opinion_id), record.cite)
        text = (
            f"The {o.junior} junior ({o.model}) scored {symbol} {o.score:+.2f} of ±2 at "
            f"confidence {o.confidence:.2f} on {_evidence(o)}; its reasons"
        )
        sentences.append(
            Sentence(topic=symbol, text=text, cites=cites, quoted=o.rationale)
            if o.rationale
            else line(symbol, text.removesuffix("; its reasons"), cites)
        )
        sentences += _headlines(record, o, cites)
    for a in record.abstentions(symbol):
        text = f"The {a.junior} junior ({a.model}) had no opinion on {symbol}"
        sentences.append(Sentence(topic=symbol, text=text, cites=(record.cite,), quoted=a.reason))
    return sentences


def features(record: Record, symbol: str) -> list[Sentence]:
    """Return the features that opinions named, the most unusual first, in words and numbers."""
    named: dict[str, list[Cite]] = {}
    for o in record.opinions(symbol):
        source = cite("opinion", o.opinion_id)
        for item in o.evidence:
            if item.startswith(FEATURE):
                named.setdefault(item.removeprefix(FEATURE), []).append(source)
    known = {
        name: value
        for name in named
        if name in INSTRUMENT_FEATURES and (value := record.feature(symbol, name)) is not None
    }
    first = sorted(known, key=lambda n: (-strength(n, known[n]), n))[:MOST_FEATURES]
    if not first:
        return []
    cites = dict.fromkeys(source for name in first for source in named[name])
    said = ", ".join(say(name, known[name]) for name in first)
    return [line(symbol, f"What stood out of {symbol}: {said}", (*cites, record.cite))]


def proposal(record: Record, symbol: str) -> list[Sentence]:
    """Return the proposal, whom it cites, and what each junior's silence would have changed."""
    found = record.proposal(symbol)
    if found is None:
        text = f"The strategist proposed nothing on {symbol}: there was no opinion"
        return [record.line(symbol, text)]
    cites = (*(cite("opinion", key) for key in found.cites), record.cite)
    text = (
        f"The strategist proposed {found.action} {symbol} with conviction {found.conviction:+.3f} "
        f"over {HORIZON_SESSIONS[found.horizon]} sessions ({found.horizon}), "
        + (
            f"citing {len(found.cites)} of {len(record.opinions(symbol))} opinions"
            if found.cites
            else "citing no opinion, which counts as an abstention"
        )
    )
    sentences = [line(symbol, text, cites)]
    if found.conviction_without:
        without = listed(
            f"{value:+.3f} without {name}" for name, value in found.conviction_without.items()
        )
        sentences.append(record.line(symbol, f"Its conviction would have been {without}"))
    return sentences


def target(record: Record, symbol: str) -> list[Sentence]:
    """Return the weight that the allocator asked for."""
    weight = record.decision.allocation.weights.get(symbol)
    state = record.state(symbol)
    if weight is None:
        return [record.line(symbol, f"The allocator named no weight for {symbol}")]
    held = "" if state is None else f"; {state.weight:.2%} was held at {amount(state.price)}"
    text = f"The allocator asked for {weight:.2%} of equity in {symbol}{held}"
    return [record.line(symbol, text)]


def gate(record: Record, symbol: str) -> list[Sentence]:
    """Return what the gate let through at each stage, and which limit cut it."""
    sentences = []
    for verdict in record.verdicts:
        for item in verdict.lines:
            if item.symbol == symbol:
                text = f"At {verdict.stage}, {minute_of(verdict.ts_event)}, the gate {_cut(item)}"
                sentences.append(record.line(symbol, text))
    if not sentences:
        text = f"The gate had nothing of {symbol} to judge: nothing held, nothing asked"
        if not record.verdicts:
            text = "The library holds no verdict of the gate on this decision"
        sentences.append(record.line(symbol, text))
    return sentences


def _cut(item: VerdictLine) -> str:
    said = f"allowed {item.allowed:.2%} where {item.asked:.2%} was asked and {item.held:.2%} held"
    if not item.limit:
        return f"{said}, and no limit cut it"
    return f"{said}: cut by {LIMITS.get(item.limit, item.limit)}"


def trades(record: Record, symbol: str) -> list[Sentence]:
    """Return the orders that followed and how they were filled."""
    sentences = []
    for o in (o for o in record.orders if o.symbol == symbol):
        fills = [f for f in record.fills if f.order_id == o.order_id]
        verb = "buy" if o.quantity > 0 else "sell"
        text = (
            f"On {minute_of(o.ts_event)} an order to {verb} {amount(abs(o.quantity))} {symbol} "
            f"was sent {REASONS.get(o.reason, f'for the reason {o.reason}')}"
        )
        if fills:
            quantity = sum(f.quantity for f in fills)
            price = sum(f.quantity * f.price for f in fills) / quantity
            paid = sum(f.commission for f in fills)
            text += (
                f"; {amount(abs(quantity))} were filled at {amount(price)} for a commission of "
                f"{paid:.2f}"
            )
        else:
            text += "; the library holds no fill of it"
        sentences.append(line(symbol, text, (cite("order", o.order_id), record.cite)))
    if not sentences:
        text = f"No order in {symbol} followed from this decision"
        sentences.append(record.line(symbol, text))
    return sentences


def outcome(record: Record, symbol: str) -> list[Sentence]:
    """Return how the proposal ended and what the learners were told of it."""
    found = next((o for o in record.outcomes if o.symbol == symbol), None)
    if found is None:
        text = f"The library holds no outcome of {symbol}: its horizon had not ended"
        return [record.line(symbol, text)]
    text = (
        f"By {day_of(found.ts_event)} {symbol} had returned {found.instrument_return:+.2%} "
        f"against {found.benchmark_return:+.2%} of all and {found.group_return:+.2%} of its "
        f"group; one unit in the conviction's direction realised {found.realised:+.2%} net of "
        f"costs, with a drawdown of {found.max_drawdown:.2%}"
    )
    sentences = [record.line(symbol, text)]
    if found.leave_one_out:
        shares = listed(f"{name} {value:+.4f}" for name, value in found.leave_one_out.items())
        sentences.append(record.line(symbol, f"The juniors' shares of the outcome: {shares}"))
    for reward in record.rewards:
        if reward.symbol == symbol:
            text = f"The {reward.learner} was told a reward of {reward.value:+.4f} for {symbol}"
            sentences.append(record.line(symbol, text))
    return sentences


def allocation(record: Record) -> list[Sentence]:
    """Return the regime, the policies and the budgets behind the weights."""
    a = record.decision.allocation
    gross = sum(map(abs, a.weights.values()))
    text = (
        f"In a {a.regime} market {a.top_policy} shared capital among groups and {a.bottom_policy} "
        f"placed it: {gross:.2%} of equity in {sum(w != 0.0 for w in a.weights.values())} of "
        f"{len(a.weights)} instruments"
    )
    sentences = [record.line("Allocation", text)]
    if a.group_budgets:
        budgets = sorted(a.group_budgets.items(), key=lambda item: (-item[1], item[0]))
        shown = listed(f"{name} {budget:.2%}" for name, budget in budgets[:MOST_SYMBOLS])
        sentences.append(record.line("Allocation", f"The largest budgets: {shown}"))
    return sentences


def market_said(record: Record, names: Sequence[str]) -> list[str]:
    """Return the features of the market that are known, in words and numbers."""
    return [say(n, value) for n in names if (value := record.macro(n)) is not None]


def _headlines(record: Record, o: Opinion, cites: tuple[Cite, ...]) -> list[Sentence]:
    """Return the headlines that an opinion names, apart from our own words."""
    items = () if record.case is None else record.case.news
    by_name = {f"news:{i.source}/{i.item_id}": i for i in items if i.symbol == o.symbol}
    return [
        Sentence(
            topic=o.symbol,
            text=f"A headline that it names, known {minute_of(by_name[name].ts_init)}",
            cites=cites,
            quoted=by_name[name].headline,
        )
        for name in o.evidence[:2]
        if name in by_name
    ]


def _evidence(o: Opinion) -> str:
    """Return what an opinion rests on, in counts: names of sources are text from outside."""
    kinds = {"feature": "features", "news": "news items", "report": "reports"}
    counts = {words: sum(e.startswith(f"{k}:") for e in o.evidence) for k, words in kinds.items()}
    return listed(f"{n} {words}" for words, n in counts.items() if n)
