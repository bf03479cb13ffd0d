"""
Describes how the system works and how it did: a run's settings and record in words.

Settings are those that the run was stored with, not today's. What the library does not hold of
them is said to be missing. It knows no question.
"""

from collections.abc import Callable

from agents.explain.cited import Cite, Sentence, cite, line, listed
from agents.explain.facts import Record, RunFacts
from agents.explain.question import Topic
from agents.explain.steps import LIMITS, allocation
from agents.messages import HORIZON_SESSIONS, JUNIORS, ROUTES
from config.settings import Settings

TOPIC = "Strategy"


def strategy(topic: Topic, run: RunFacts, record: Record) -> list[Sentence]:
    """Return what a run's record says on one topic, in the light of one decision."""
    return _TOPICS[topic](run, record)


def allocator(run: RunFacts, record: Record) -> list[Sentence]:
    """Return how capital is placed, and how it was in one decision."""
    sentences = _settings(
        run,
        record,
        lambda s: (
            "The allocator has two tiers: a top policy shares capital among groups, a bottom "
            "policy places each group's share; trained policies take the baselines' places, "
            "see what juniors found as features, and may use "
            f"{s.allocator.gross:.0%} of equity"
            if s.allocator.policies
            else "The allocator has two tiers: a top policy shares capital among groups, a bottom "
            "policy places each group's share with the proposals as views; it looks back "
            f"{s.allocator.lookback} sessions, takes views at their juniors' realised information "
            f"coefficient, shrunk towards {s.allocator.prior_ic:g} as if that were known from "
            f"{s.allocator.prior_outcomes:g} outcomes, and may use "
            f"{s.allocator.gross:.0%} of equity"
        ),
    )
    latest = [line(TOPIC, f"On {record.day}: {s.text}", s.cites) for s in allocation(record)]
    return [*sentences, *latest]


def limits(run: RunFacts, record: Record) -> list[Sentence]:
    """Return the gate's limits, and which of them cut the decision."""
    sentences = _settings(
        run,
        record,
        lambda s: (
            f"The gate's limits: {_share(s.limits.max_position)} of equity a position, "
            f"{s.limits.max_group:.0%} a group, {s.limits.max_gross:.0%} gross, "
            f"{s.limits.max_var:.0%} one-day 99% value at risk, {s.limits.max_correlation:g} "
            f"correlation exposure, {s.limits.stop_text} with "
            f"{s.limits.stop_cooldown_sessions} sessions of cooldown, a breaker at a drawdown of "
            f"{s.limits.max_drawdown:.0%}; decisions are cut to {s.limits.headroom:.0%} of a limit"
        ),
    )
    cut = sorted({i.limit for v in record.verdicts for i in v.lines if i.limit})
    by = listed(LIMITS.get(name, name) for name in cut)
    text = f"On {record.day} weights were cut by {by}" if cut else f"On {record.day} none cut"
    return [*sentences, record.line(TOPIC, text)]


def performance(run: RunFacts, record: Record) -> list[Sentence]:
    """Return what the run earned, as far as its library says."""
    tally = run.tally
    said = [
        f"The run {run.name} ({run.status}) holds {tally.decisions} decisions, {tally.orders} "
        f"orders and {tally.fills} fills, which cost {tally.commission:.2f} in commission"
    ]
    if run.first_equity is not None and run.last_equity is not None:
        text = (
            f"Equity went from {run.first_equity:.2f} at the first case to "
            f"{run.last_equity:.2f} at the newest "
            f"({run.last_equity / run.first_equity - 1.0:+.2%})"
        )
        if run.last_drawdown is not None:
            text += f", then {run.last_drawdown:.2%} below its peak"
        said.append(text)
    if tally.sharpe is not None:
        yearly = tally.sharpe * tally.sessions_per_year**0.5
        said.append(f"Its Sharpe ratio was {tally.sharpe:+.4f} a session ({yearly:+.2f} a year)")
    if tally.acted and tally.realised is not None:
        text = (
            f"Of {tally.acted} closed proposals with a conviction {tally.hits} gained net of "
            f"costs ({tally.hits / tally.acted:.0%}), {tally.realised:+.3%} on average"
        )
        said.append(text)
    if tally.reward is not None:
        said.append(f"The mean reward of a decision was {tally.reward:.4f}")
    return [line(TOPIC, text, _both(run, record)) for text in said]


def supervisor(run: RunFacts, record: Record) -> list[Sentence]:
    """Return how routes are chosen, and which were taken with what reward."""
    cites, tally = _both(run, record), run.tally
    text = (
        "The supervisor chooses which juniors to ask about each instrument by the highest upper "
        f"confidence bound of the reward of the {len(ROUTES)} routes, and learns from each closed "
        "outcome"
    )
    sentences = [line(TOPIC, text, cites)]
    said = [
        f"{listed(ROUTES[arm])} {count} times"
        + (f" (mean reward {tally.arm_rewards[arm]:+.4f})" if arm in tally.arm_rewards else "")
        for arm, count in sorted(tally.routes.items(), key=lambda item: (-item[1], item[0]))
    ]
    if said:
        sentences.append(line(TOPIC, f"Routes taken: {'; '.join(said)}", cites))
    return sentences


def juniors(run: RunFacts, record: Record) -> list[Sentence]:
    """Return how often each junior spoke and how often it was right."""
    cites, tally = _both(run, record), run.tally
    said = [
        f"{name} spoke {tally.spoke.get(name, 0)} times and abstained {tally.silent.get(name, 0)}"
        for name in JUNIORS
    ]
    sentences = [line(TOPIC, f"In this run {'; '.join(said)}", cites)]
    track = () if record.case is None else record.case.track
    known = [f"{t.junior} {t.hits} of {t.calls}" for t in track if t.calls]
    text = f"By {record.day} the right sign had been called by {listed(known)}"
    if not known:
        text = f"By {record.day} no opinion had closed: there was no track record"
    return [*sentences, record.line(TOPIC, text)]


def costs(run: RunFacts, record: Record) -> list[Sentence]:
    """Return what trading costs in the run, and how often it decides."""
    return _settings(
        run,
        record,
        lambda s: (
            f"A fill costs {s.market.cost_frac:.2%} of notional unless the instrument has its "
            f"own cost, with a spread of {s.market.spread_bps:g} basis points; the desk decides "
            f"every {s.desk.decide_every_sessions} sessions over "
            f"{HORIZON_SESSIONS[s.desk.horizon]} sessions ({s.desk.horizon}), acts "
            f"{s.desk.latency_ms:g} ms later and leaves changes below "
            f"{s.desk.no_trade_band:.1%} of equity, or below half an even holding, alone"
        ),
    )


_TOPICS: dict[Topic, Callable[[RunFacts, Record], list[Sentence]]] = {
    "allocator": allocator,
    "limits": limits,
    "performance": performance,
    "juniors": juniors,
    "supervisor": supervisor,
    "costs": costs,
}


def _settings(run: RunFacts, record: Record, words: Callable[[Settings], str]) -> list[Sentence]:
    """Return a sentence on the run's settings, or that this version cannot read them."""
    if run.settings is None:
        text = "The library does not hold this run's settings in a form that this version reads"
        return [line(TOPIC, text, (cite("run", run.run_id),))]
    return [line(TOPIC, words(run.settings), _both(run, record))]


def _both(run: RunFacts, record: Record) -> tuple[Cite, ...]:
    return (cite("run", run.run_id), record.cite)


def _share(fraction: float) -> str:
    """Return a fraction as a percentage without needless digits, "10%" or "37.5%"."""
    return f"{fraction * 100:.4g}%"
