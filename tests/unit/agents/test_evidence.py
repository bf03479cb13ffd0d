"""Who has evidence in a case is decided once, and means what rules and models mean by it."""

import numpy as np
import pytest

from agents.allocator import build_baseline
from agents.arrays import Panel
from agents.features.batch import INSTRUMENT_FEATURES
from agents.hierarchy import NO_EVIDENCE, Hierarchy
from agents.juniors.evidence_lines import (
    figure_lines,
    has_evidence,
    headline_lines,
    indicator_lines,
)
from agents.juniors.fundamental import RuleFundamentalJunior
from agents.juniors.news import RuleNewsJunior
from agents.juniors.round import JuniorRound
from agents.juniors.technical import INDICATORS, RuleTechnicalJunior
from agents.messages import JUNIORS, FundamentalsReport, Opinion
from agents.strategist.rule_strategist import RuleStrategist
from agents.supervisor.neural_ucb import NeuralUCB
from config.settings import AllocatorSettings, SupervisorSettings
from tests.unit.agents.cases import DAY, NOW, case, item, state

RULES = {
    "news": RuleNewsJunior(),
    "technical": RuleTechnicalJunior(),
    "fundamental": RuleFundamentalJunior(),
}
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
HEADLINES = ("profit beats estimates", "annual meeting", "\u200b\u2800", "")
FIGURES = ("net_income", "revenue", "assets", "liabilities", "operating_cash_flow")


def report(symbol, end_days, filed_days, names):
    return FundamentalsReport(
        symbol=symbol,
        ts_event=NOW - end_days * DAY,
        ts_init=NOW - filed_days * DAY,
        period="annual",
        figures={name: 10.0 + i for i, name in enumerate(names)},
    )


def random_case(seed):
    """A case in which anything may be missing."""
    rng = np.random.default_rng(seed)
    masked = rng.choice((0.1, 0.4, 0.7))
    states, news, reports = [], [], []
    for symbol in SYMBOLS:
        known = rng.random(len(INSTRUMENT_FEATURES)) > masked
        values = rng.normal(0.0, 0.2, len(INSTRUMENT_FEATURES)).tolist()
        states.append(
            state(
                symbol,
                **{
                    name: abs(v) + 0.01 if "volatility" in name else v
                    for name, v, known_ in zip(INSTRUMENT_FEATURES, values, known, strict=True)
                    if known_
                },
            )
        )
        news += [
            item(str(rng.choice(HEADLINES)), symbol, item_id=f"{symbol}{k}")
            for k in range(rng.integers(0, 3))
        ]
        for years in range(rng.integers(0, 3)):
            names = [name for name in FIGURES if rng.random() < 0.5]
            age = int(rng.choice((100, 600))) + 365 * years
            reports.append(report(symbol, age, age - 40, names))
    return case(*states, news=news, fundamentals=reports)


def lines(junior, c, symbol):
    if junior == "news":
        return headline_lines(c, symbol, 5, None)
    return {"technical": indicator_lines, "fundamental": figure_lines}[junior](c, symbol)


def test_without_evidence_rules_and_models_abstain_and_with_it_they_are_asked():
    seen = np.zeros((2, 3), dtype=int)
    for seed in range(150):
        c = random_case(seed)
        evidence = has_evidence(c)
        for place, name in enumerate(JUNIORS):
            for answer, has in zip(RULES[name].opine(c, SYMBOLS), evidence[:, place], strict=True):
                seen[int(has), place] += 1
                if name == "news" and has and not isinstance(answer, Opinion):
                    assert "is in the lexicon" in answer.reason  # it was read, and says nothing
                else:
                    assert isinstance(answer, Opinion) == has
                if has or name == "news":
                    assert bool(lines(name, c, answer.symbol)) == has
    assert seen.min() > 50


def test_five_indicators_beside_the_volatility_are_evidence_and_four_are_not():
    values = dict.fromkeys(INDICATORS[:5], 0.1)
    assert has_evidence(case(state(volatility_20=0.2, **values))).tolist() == [
        [False, True, False]
    ]
    assert not has_evidence(case(state(**values))).any()
    del values[INDICATORS[0]]
    assert not has_evidence(case(state(volatility_20=0.2, **values))).any()


@pytest.fixture
def mind():
    return Hierarchy(
        supervisor=NeuralUCB(SupervisorSettings(hidden=8), seed=0),
        juniors=JuniorRound(RULES),
        strategist=RuleStrategist(),
        allocator=build_baseline(AllocatorSettings()),
    )


def decide(mind, c):
    panel = Panel(tuple(s.symbol for s in c.instruments), np.empty((0, len(c.instruments))))
    return mind.decide(c, panel, latency_ns=0, expires=NOW + DAY)


def test_an_instrument_of_which_nobody_has_evidence_has_no_route_and_all_abstain(mind):
    known = dict.fromkeys(INDICATORS, 0.1)
    c = case(state("AAA", volatility_20=0.2, **known), state("BBB"))
    decision = decide(mind, c)
    assert [r.symbol for r in decision.routes] == ["AAA"]
    assert {j for r in decision.routes for j in r.juniors} == {"technical"}
    silent = [(a.junior, a.symbol, a.reason, a.model) for a in decision.abstentions]
    assert silent == [(j, "BBB", NO_EVIDENCE, RULES[j].model) for j in JUNIORS]
    assert [p.symbol for p in decision.proposals] == ["AAA"]


def test_no_junior_is_ever_asked_about_what_it_has_no_evidence_of(mind):
    for seed in range(40):
        c = random_case(seed)
        decision = decide(mind, c)
        evidence = has_evidence(c)
        assert len(decision.routes) == evidence.any(axis=1).sum()
        for route in decision.routes:
            row = evidence[SYMBOLS.index(route.symbol)]
            assert all(row[JUNIORS.index(junior)] for junior in route.juniors)
