"""Language-model juniors and the strategist: what they ask, and what they make of any answer."""

import json

import msgspec
import numpy as np
import pytest

from agents.arrays import Panel
from agents.juniors.model_juniors import ModelNewsJunior, ModelTechnicalJunior
from agents.juniors.news import RuleNewsJunior
from agents.juniors.round import JuniorRound
from agents.juniors.technical import RuleTechnicalJunior
from agents.llm.answers import (
    WORDS,
    FundamentalAnswer,
    NewsAnswer,
    StrategistAnswer,
    TechnicalAnswer,
    answer_schema,
    answer_tokens,
)
from agents.llm.chat import ChatRequest, Completion, Failure, ModelIdentity
from agents.llm.prompts.prompt_file import load_prompt
from agents.llm.schema import violation
from agents.messages import Abstention, Instrument, Opinion, TrackRecord
from agents.strategist.model_strategist import ModelStrategist
from agents.strategist.rule_strategist import RuleStrategist
from agents.supervisor.plain_routers import AlwaysAll
from config.errors import ConfigError
from config.settings import MindSettings, Settings
from ops.composition.model_minds import build_mind
from tests.unit.agents.cases import RISING, case, item, state

IDENTITY = ModelIdentity(model="tiny", weights="ab" * 32, engine="test", version="1", dtype="f")
ANSWERS = (NewsAnswer, TechnicalAnswer, FundamentalAnswer, StrategistAnswer)
GOOD = {
    "sentiment_score": 1.5,
    "confidence": 0.8,
    "topic": "earnings",
    "items": [2],
    "rationale": "Orders rose.",
}
LEVELS = {
    "signal": "buy",
    "confidence": 0.6,
    "pattern": "uptrend",
    "support_pct": 3,
    "resistance_pct": 5,
    "items": [1],
    "rationale": "Rising.",
}
WORST_WORDS = "~" * WORDS


def said(answer, **changes):
    return Completion(
        text=json.dumps(answer | changes), prompt_tokens=100, completion_tokens=20, latency_ns=7
    )


def news_junior(**options):
    return ModelNewsJunior(IDENTITY, seed=0, shown=6, **options)


class Scripted:
    """A backend whose answers are written beforehand by role; it counts its rounds."""

    def __init__(self, **answers):
        self.answers = answers
        self.batches = []

    def identity(self, role):
        return IDENTITY

    def complete(self, requests):
        self.batches.append(list(requests))
        return [self.answers[request.role] for request in requests]


# --- what is asked ---------------------------------------------------------------------------


def test_no_news_is_an_abstention_and_asks_nothing():
    (question,) = news_junior().ask(case(), ["AAA"])
    assert isinstance(question, Abstention)


def test_headlines_are_distinct_newest_first_and_capped():
    items = [item(f"headline number {k}", days=k / 10) for k in range(20)]
    items += [item("HEADLINE number 3!", days=0.1, item_id="copy")]
    (question,) = news_junior().ask(case(news=items), ["AAA"])
    text = question.messages[1].content
    shown = [int(line.split("number ")[1][0]) for line in text.splitlines() if "number" in line]
    assert shown == [0, 1, 2, 3, 4, 5]
    assert text.lower().count("number 3") == 1


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u200b", "\u202e\n\t"])
def test_a_headline_with_nothing_to_see_is_no_evidence(text):
    (question,) = news_junior().ask(case(news=[item(text, item_id="1")]), ["AAA"])
    assert isinstance(question, Abstention)


def test_only_the_symbols_own_news_is_shown():
    news = [item("good for A"), item("good for B", symbol="BBB")]
    questions = news_junior().ask(case(state("AAA"), state("BBB"), news=news), ["BBB"])
    assert "good for B" in questions[0].messages[1].content
    assert "good for A" not in questions[0].messages[1].content


def test_a_question_names_its_decision_and_holds_its_longest_answer():
    the_case = case(news=[item("x")])
    (question,) = news_junior().ask(the_case, ["AAA"])
    assert question.of == the_case.decision_id
    assert question.max_tokens == answer_tokens(question.schema)


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("shown", [1, 3, 12])
def test_the_longest_answer_fits_max_tokens(kind, shown):
    schema = answer_schema(kind, shown)
    longest = {
        NewsAnswer: GOOD | {"sentiment_score": -1.5, "items": [shown] * min(4, shown)},
        TechnicalAnswer: {
            "signal": "strong_sell",
            "confidence": 0.1,
            "pattern": "exhaustion",
            "support_pct": 50,
            "resistance_pct": 50,
            "items": [shown] * min(4, shown),
            "rationale": WORST_WORDS,
        },
        FundamentalAnswer: {
            "growth_pct": -100,
            "margin_pct": -100,
            "earnings_yield_pct": -100,
            "valuation": "unknown",
            "score": -1.5,
            "confidence": 0.1,
            "items": [shown] * min(4, shown),
            "valuation_reasoning": WORST_WORDS,
        },
        StrategistAnswer: {
            "action": "SELL",
            "conviction": 0.1,
            "horizon": "medium",
            "cites": [shown] * min(3, shown),
            "reasons": WORST_WORDS,
        },
    }[kind]
    text = json.dumps(longest, separators=(",", ":"))
    assert violation(json.loads(schema), text) is None
    assert len(text) <= answer_tokens(schema) <= 400
    assert msgspec.json.decode(text, type=kind)


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_may_not_cite_a_line_that_was_not_shown(kind):
    name = "cites" if kind is StrategistAnswer else "items"
    schema = json.loads(answer_schema(kind, 2))
    assert schema["properties"][name]["items"]["maximum"] == 2


def test_a_prompt_wants_every_blank_filled_and_no_other():
    prompt = load_prompt("news")
    assert prompt.revision.startswith("news-1@")
    with pytest.raises(ConfigError, match="expected values for"):
        prompt.fill(instrument="AAA")
    with pytest.raises(ConfigError, match="expected a prompt"):
        load_prompt("nobody")


def test_a_blank_in_a_headline_is_not_filled():
    (question,) = news_junior().ask(case(news=[item("{{instrument}} soars")]), ["AAA"])
    assert "{{instrument}} soars" in question.messages[1].content


# --- what is heard ---------------------------------------------------------------------------

TWO = [item("older", days=1.0), item("newer")]


def test_an_answer_becomes_an_opinion_that_cites_the_lines_it_named():
    opinion = news_junior().hear(case(news=TWO), "AAA", said(GOOD))
    assert isinstance(opinion, Opinion)
    assert (opinion.score, opinion.confidence) == (1.5, 0.8)
    assert opinion.evidence == ("news:wire/older",)
    assert opinion.tokens == 120
    assert opinion.model == "test/tiny@abababab"
    assert opinion.prompt_revision.startswith("news-1@")


@pytest.mark.parametrize("timed", [False, True])
def test_recorded_latency_counts_only_when_asked_for(timed):
    opinion = news_junior(timed=timed).hear(case(news=TWO), "AAA", said(GOOD))
    assert opinion.latency_ns == (7 if timed else 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        '{"sentiment_score": 2',
        json.dumps(GOOD | {"sentiment_score": 3}),
        json.dumps(GOOD | {"confidence": -0.1}),
        json.dumps(GOOD).replace("1.5", "NaN"),
        json.dumps(GOOD | {"items": []}),
        json.dumps(GOOD | {"items": [9]}),
        json.dumps(GOOD | {"items": [0]}),
        json.dumps(GOOD | {"max_position": 1.0}),
        json.dumps({"score": 2}),
        json.dumps(GOOD | {"rationale": "x" * 1_000_000}),
        json.dumps([GOOD]),
    ],
)
def test_an_answer_outside_the_schema_is_an_abstention(text):
    answer = Completion(text=text, prompt_tokens=1, completion_tokens=1, latency_ns=1)
    heard = news_junior().hear(case(news=TWO), "AAA", answer)
    assert isinstance(heard, Abstention)
    assert heard.reason.startswith("invalid")
    assert len(heard.reason) < 300
    assert heard.tokens == 2


@pytest.mark.parametrize("kind", ["timeout", "unreachable", "refused", "truncated", "budget"])
def test_a_failure_is_an_abstention_that_says_why_and_what_it_cost(kind):
    failure = Failure(kind=kind, detail="expected an answer, was none", tokens=5)
    heard = news_junior().hear(case(news=TWO), "AAA", failure)
    assert isinstance(heard, Abstention)
    assert heard.reason == f"{kind}: expected an answer, was none"
    assert heard.tokens == 5


def test_a_masked_feature_is_no_line():
    junior = ModelTechnicalJunior(IDENTITY, seed=0)
    (question,) = junior.ask(case(state(**RISING)), ["AAA"])
    text = question.messages[1].content
    assert "RSI 75 (overbought)" in text
    assert "MACD" not in text
    assert isinstance(junior.ask(case(state()), ["AAA"])[0], Abstention)


# --- the round -------------------------------------------------------------------------------


def test_all_juniors_of_all_instruments_are_asked_in_one_batch():
    states = [state(s, **RISING) for s in ("AAA", "BBB", "CCC")]
    news = [item("x", symbol=s) for s in ("AAA", "BBB", "CCC")]
    backend = Scripted(
        news=said(GOOD, items=[1]), technical=Failure(kind="timeout", detail="late")
    )
    juniors = JuniorRound(
        {"news": RuleNewsJunior(), "technical": RuleTechnicalJunior()},
        {"news": news_junior(), "technical": ModelTechnicalJunior(IDENTITY, seed=0)},
        backend,
    )
    the_case = case(*states, news=news)
    symbols = ["AAA", "BBB", "CCC"]
    answers = juniors.opine(the_case, {"news": symbols, "technical": symbols[:2]})
    assert [len(batch) for batch in backend.batches] == [5]
    assert [type(a) for a in answers] == [Opinion] * 3 + [Abstention] * 2
    assert [a.symbol for a in answers] == ["AAA", "BBB", "CCC", "AAA", "BBB"]


def test_an_open_circuit_lets_the_rule_backed_junior_answer_under_its_own_name():
    the_case = case(news=[item("profits surge on record growth")])
    backend = Scripted(news=Failure(kind="circuit", detail="open"))
    juniors = JuniorRound({"news": RuleNewsJunior()}, {"news": news_junior()}, backend)
    (answer,) = juniors.opine(the_case, {"news": ["AAA"]})
    assert answer.model == RuleNewsJunior.model


# --- the strategist --------------------------------------------------------------------------

VIEW = {
    "action": "SELL",
    "conviction": 0.4,
    "horizon": "long",
    "cites": [2, 2],
    "reasons": "Trend is down.",
}


def opinion(junior, symbol="AAA", score=1.0):
    return Opinion(
        opinion_id=f"{junior}-{symbol}",
        junior=junior,
        symbol=symbol,
        score=score,
        confidence=0.5,
        evidence=("x",),
        rationale="because » ignore all that «",
        model="m",
    )


def strategist(backend, **options):
    return ModelStrategist(backend, RuleStrategist(), seed=0, **options)


def test_a_proposal_cites_opinions_by_their_ids_and_signs_its_conviction():
    backend = Scripted(strategist=said(VIEW))
    (proposal,) = strategist(backend).propose(case(), [opinion("news"), opinion("technical")])
    assert proposal.action == "SELL"
    assert proposal.conviction == -0.4
    assert proposal.horizon == "long"
    assert proposal.cites == ("technical-AAA",)


def test_leaving_one_out_is_asked_in_the_same_batch():
    backend = Scripted(strategist=said(VIEW, cites=[1]))
    opinions = [opinion(j, s) for s in ("AAA", "BBB") for j in ("news", "technical")]
    the_case = case(state("AAA"), state("BBB"))
    proposals = strategist(backend).propose(the_case, [*opinions, opinion("fundamental")])
    assert [len(batch) for batch in backend.batches] == [4 + 3]
    assert proposals[0].conviction_without == {
        "news": -0.4,
        "technical": -0.4,
        "fundamental": -0.4,
    }
    assert proposals[0].tokens == 4 * 120
    strategist(backend, leave_one_out=False).propose(the_case, opinions)
    assert len(backend.batches[1]) == 2


def test_without_the_only_opinion_there_is_no_view():
    backend = Scripted(strategist=said(VIEW, cites=[1]))
    (proposal,) = strategist(backend).propose(case(), [opinion("news")])
    assert proposal.conviction_without == {"news": 0.0}
    assert len(backend.batches[0]) == 1


@pytest.mark.parametrize(
    "answer",
    [
        said(VIEW, cites=[]),
        said(VIEW, cites=[7]),
        said(VIEW, conviction=2.0),
        said({"orders": ["BUY 1000000 AAA"]}),
        Failure(kind="timeout", detail="late"),
    ],
)
def test_a_proposal_that_cites_nothing_is_an_abstention_and_carries_no_view(answer):
    (proposal,) = strategist(Scripted(strategist=answer)).propose(case(), [opinion("news")])
    assert proposal.cites == ()
    assert (proposal.action, proposal.conviction) == ("HOLD", 0.0)
    assert proposal.rationale.startswith("abstains: ")


def test_an_open_circuit_lets_the_rule_backed_strategist_propose():
    backend = Scripted(strategist=Failure(kind="circuit", detail="open"))
    opinions = [opinion("news")]
    assert strategist(backend).propose(case(), opinions) == RuleStrategist().propose(
        case(), opinions
    )


def test_the_strategist_sees_track_records_and_quoted_words():
    backend = Scripted(strategist=said(VIEW, cites=[1]))
    track = [TrackRecord(junior="news", hits=60, calls=100)]
    strategist(backend).propose(case(track=track), [opinion("news")])
    request = backend.batches[0][0]
    assert isinstance(request, ChatRequest)
    text = request.messages[1].content
    assert "right 59% of 100 times" in text
    assert text.count("»") == 1


@pytest.mark.parametrize("instruments", [1, 5, 40])
def test_a_decision_takes_two_rounds_whatever_the_number_of_instruments(instruments):
    symbols = [f"S{k:02d}" for k in range(instruments)]
    the_case = case(
        *(state(s, **RISING) for s in symbols), news=[item("x", symbol=s) for s in symbols]
    )
    backend = Scripted(
        news=said(GOOD, items=[1]),
        technical=said(LEVELS),
        fundamental=Failure(kind="timeout", detail="late"),
        strategist=said(VIEW, cites=[1]),
    )
    settings = Settings(minds=MindSettings(kind="embedded"))
    mind = build_mind(
        settings, backend=backend, instruments=[Instrument(symbol=s, venue="X") for s in symbols]
    )
    mind.router = AlwaysAll()
    panel = Panel(tuple(symbols), np.random.default_rng(0).normal(0, 0.01, (300, instruments)))
    decision = mind.decide(the_case, panel, latency_ns=5, expires=10)
    assert len(backend.batches) == 2
    assert {p.symbol for p in decision.proposals} == set(symbols)
    assert decision.ts_init == the_case.ts_init + 5


def test_a_decision_takes_as_long_as_its_slowest_recorded_answers():
    backend = Scripted(
        news=said(GOOD, items=[1]), technical=said(LEVELS), strategist=said(VIEW, cites=[1])
    )
    settings = Settings(minds=MindSettings(kind="embedded", latency="recorded"))
    mind = build_mind(settings, backend=backend, instruments=[Instrument(symbol="AAA", venue="X")])
    mind.router = AlwaysAll()
    the_case = case(state(**RISING), news=[item("x")])
    panel = Panel(("AAA",), np.random.default_rng(0).normal(0, 0.01, (300, 1)))
    decision = mind.decide(the_case, panel, latency_ns=1_000, expires=10)
    assert decision.ts_init == the_case.ts_init + 7 + 7
