"""
The rule-backed strategist: opinions combined by precision, each weighed by its author's record.

An opinion is a noisy reading of a direction in -1..1 whose prior is 0. Its precision is its
confidence times its author's calibrated skill, in units of a fresh author's; the conviction is
the posterior mean, sum(w s) / (1 + sum(w)). A fresh hierarchy trades on a small prior skill per
junior; a record of coin tosses takes that away and a good one multiplies it. It knows no prices,
no holdings and no limits.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from agents.messages import JUNIORS, Action, Case, JuniorName, Opinion, Proposal, TrackRecord

PRIOR_CALLS = 10.0  # as `TrackRecord.hit_rate` imagines
PRIOR_SKILL: dict[JuniorName, float] = {"news": 0.02, "technical": 0.03, "fundamental": 0.02}
SKILL_FLOOR = 0.001  # of a junior that is wrong more often than right: nearly silent
SKILL_UNIT = 0.02  # skill at which a certain opinion is worth as much as the prior
PRIOR_PRECISION = 1.0
THRESHOLD = 0.08  # conviction from which a proposal acts


class RuleStrategist:
    """Precision weighting with track records."""

    described = "rules/strategist-1"

    def propose(self, case: Case, opinions: Sequence[Opinion]) -> list[Proposal]:
        """Return a proposal for each symbol that has an opinion, sorted by symbol."""
        records = {record.junior: record for record in case.track}
        skills = {junior: skill(junior, records.get(junior)) for junior in JUNIORS}
        by_symbol: defaultdict[str, list[Opinion]] = defaultdict(list)
        for opinion in opinions:
            by_symbol[opinion.symbol].append(opinion)
        return [self._propose(case, by_symbol[symbol], skills) for symbol in sorted(by_symbol)]

    def _propose(
        self, case: Case, opinions: list[Opinion], skills: Mapping[JuniorName, float]
    ) -> Proposal:
        opinions.sort(key=lambda o: (JUNIORS.index(o.junior), o.opinion_id))
        conviction = combine(opinions, skills)
        without: dict[str, float] = {
            junior: combine([o for o in opinions if o.junior != junior], skills)
            for junior in dict.fromkeys(o.junior for o in opinions)
        }
        cited = [o for o in opinions if precision(o, skills) > 0.0]
        action = action_of(conviction)
        said = ", ".join(
            f"{o.junior} {o.score:+.2f} at confidence {o.confidence:.2f} "
            f"and weight {precision(o, skills):.2f} [{o.opinion_id}]"
            for o in cited
        )
        return Proposal(
            symbol=opinions[0].symbol,
            action=action,
            conviction=conviction,
            horizon=case.horizon,
            rationale=f"{action} at conviction {conviction:+.2f}: {said or 'no weighty opinion'}.",
            cites=tuple(o.opinion_id for o in cited),
            conviction_without=without,
        )


def skill(junior: JuniorName, record: TrackRecord | None) -> float:
    """
    Return a junior's hit rate above one half, shrunk to its prior skill by ten imagined calls.

    Never below SKILL_FLOOR; never falls when a call becomes a hit.
    """
    hits, calls = (record.hits, record.calls) if record else (0, 0)
    imagined = PRIOR_CALLS * (0.5 + PRIOR_SKILL[junior])
    return max((hits + imagined) / (calls + PRIOR_CALLS) - 0.5, SKILL_FLOOR)


def precision(opinion: Opinion, skills: Mapping[JuniorName, float]) -> float:
    """Return an opinion's weight: 1 for a certain one of an author of SKILL_UNIT."""
    return opinion.confidence * skills[opinion.junior] / SKILL_UNIT


def combine(opinions: Sequence[Opinion], skills: Mapping[JuniorName, float]) -> float:
    """Return the conviction of one instrument's opinions, -1..1; 0.0 without any."""
    weights = [precision(opinion, skills) for opinion in opinions]
    total = sum(w * o.score / 2.0 for w, o in zip(weights, opinions, strict=True))
    return round(total / (PRIOR_PRECISION + sum(weights)), 6) + 0.0


def action_of(conviction: float) -> Action:
    """Return BUY or SELL from the threshold on, else HOLD."""
    if conviction >= THRESHOLD:
        return "BUY"
    return "SELL" if conviction <= -THRESHOLD else "HOLD"
