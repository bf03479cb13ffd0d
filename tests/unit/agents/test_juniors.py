import time
from datetime import UTC, datetime

import msgspec
import pytest

from agents.juniors.fundamental import RuleFundamentalJunior
from agents.juniors.news import RuleNewsJunior
from agents.juniors.patterns import find_patterns
from agents.juniors.technical import RuleTechnicalJunior
from agents.messages import (
    Abstention,
    FundamentalsReport,
    Opinion,
)
from agents.strategist.rule_strategist import RuleStrategist
from tests.unit.agents.cases import DAY, case, item, state

RISING = {
    "return_1": 0.01,
    "return_5": 0.01,
    "return_20": 0.06,
    "return_60": 0.2,
    "volatility_20": 0.25,
    "volatility_ratio": 1.0,
    "rsi_14": 0.6,
    "macd": 0.004,
    "bollinger_position": 0.6,
    "atr_14": 0.02,
    "volume_ratio": 1.2,
    "trend": 0.05,
    "drawdown": -0.01,
    "gap": 0.001,
    "relative_strength": 0.04,
    "beta_60": 1.0,
}
FALLING = RISING | {
    "return_1": -0.01,
    "return_5": -0.01,
    "return_20": -0.06,
    "return_60": -0.2,
    "rsi_14": 0.4,
    "macd": -0.004,
    "bollinger_position": -0.6,
    "trend": -0.05,
    "drawdown": -0.25,
    "relative_strength": -0.04,
}


def report(end, symbol="AAA", period="annual", filed_after=60, **figures):
    ts = int(datetime.fromisoformat(end).replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    return FundamentalsReport(
        symbol=symbol,
        ts_event=ts,
        ts_init=ts + filed_after * DAY,
        period=period,
        figures=figures,
    )


def only(junior, the_case, symbol="AAA"):
    (answer,) = junior.opine(the_case, [symbol])
    return answer


GOOD = {
    "revenue": 120.0,
    "net_income": 18.0,
    "liabilities": 40.0,
    "assets": 100.0,
    "operating_cash_flow": 22.0,
}
PAST = {
    "revenue": 100.0,
    "net_income": 10.0,
    "liabilities": 50.0,
    "assets": 100.0,
    "operating_cash_flow": 9.0,
}
REPORTS = (report("2014-12-31", **GOOD), report("2013-12-31", **PAST))


# --- what all three share ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "junior", [RuleNewsJunior(), RuleTechnicalJunior(), RuleFundamentalJunior()]
)
def test_answers_come_in_the_order_asked_and_do_not_depend_on_it(junior):
    the_case = case(
        state("AAA", **RISING),
        state("BBB"),
        state("CCC", **FALLING),
        news=[item("profit falls", "CCC"), item("profit rises", "AAA")],
        fundamentals=[*REPORTS, report("2014-12-31", "CCC", **PAST)],
    )
    answers = junior.opine(the_case, ["CCC", "AAA", "BBB"])
    assert [a.symbol for a in answers] == ["CCC", "AAA", "BBB"]
    assert answers[::-1] == junior.opine(the_case, ["BBB", "AAA", "CCC"])
    assert answers[1:2] == junior.opine(the_case, ["AAA"])
    assert {a.junior for a in answers} == {junior.name}
    assert {a.model for a in answers} == {junior.model}
    assert isinstance(answers[2], Abstention)
    assert len({a.opinion_id for a in answers[:2]}) == 2


@pytest.mark.parametrize(
    "junior", [RuleNewsJunior(), RuleTechnicalJunior(), RuleFundamentalJunior()]
)
def test_without_evidence_a_junior_abstains_and_says_why(junior):
    answer = only(junior, case(state()))
    assert isinstance(answer, Abstention)
    assert answer.reason


def test_an_opinion_is_in_range_when_it_is_decoded_again():
    the_case = case(state(**RISING), news=[item("bankrupt fraud crash")], fundamentals=REPORTS)
    for junior in (RuleNewsJunior(), RuleTechnicalJunior(), RuleFundamentalJunior()):
        opinion = only(junior, the_case)
        assert msgspec.json.decode(msgspec.json.encode(opinion), type=Opinion) == opinion


def test_an_opinion_id_changes_with_what_it_says():
    one = only(RuleNewsJunior(), case(news=[item("profit rises")]))
    two = only(RuleNewsJunior(), case(news=[item("profit rises", item_id="other")]))
    assert len(one.opinion_id) == 16
    assert one.opinion_id != two.opinion_id
    assert one.opinion_id == only(RuleNewsJunior(), case(news=[item("profit rises")])).opinion_id


# --- news ------------------------------------------------------------------------------------


def test_news_junior_follows_the_headlines_and_names_them():
    good = only(RuleNewsJunior(), case(news=[item("profit rises", item_id="7")]))
    bad = only(RuleNewsJunior(), case(news=[item("profit falls")]))
    assert good.score == -bad.score > 0
    assert good.evidence == ("news:wire/7",)


def test_newer_news_outweighs_older_news():
    newest_good = [item("profit rises", days=0), item("profit falls", days=3)]
    newest_bad = [item("profit rises", days=3), item("profit falls", days=0)]
    assert only(RuleNewsJunior(), case(news=newest_good)).score > 0
    assert only(RuleNewsJunior(), case(news=newest_bad)).score < 0


def test_an_items_weight_halves_with_each_day():
    def confidence(days):
        return only(RuleNewsJunior(), case(news=[item("profit rises", days=days)])).confidence

    assert confidence(0) == pytest.approx(1 / 3, abs=1e-4)
    assert confidence(1) == pytest.approx(0.5 / 2.5, abs=1e-4)
    assert confidence(2) == pytest.approx(0.25 / 2.25, abs=1e-4)


def test_copies_of_one_text_count_once():
    once = only(RuleNewsJunior(), case(news=[item("Profit rises", item_id="a", days=1)]))
    copies = [
        item("Profit rises", item_id="a", days=1),
        item("RT @bot: profit RISES! http://t.co/x", item_id="b"),
    ]
    assert only(RuleNewsJunior(), case(news=copies)) == once


def test_confidence_grows_with_count_and_falls_with_quarrel():
    few = case(news=[item("profit rises in May")])
    many = case(news=[item(f"profit rises in month {word}") for word in ("May", "June", "July")])
    split = case(news=[item("profit rises in May"), item("profit falls in June")])
    confidence = [only(RuleNewsJunior(), c).confidence for c in (few, many, split)]
    assert confidence[1] > confidence[0] > confidence[2]


def test_news_are_read_against_what_news_usually_say():
    news = [item("profit rises")]
    plain = only(RuleNewsJunior(), case(news=news))
    hopeful = only(RuleNewsJunior(), case(news=news, tone=0.4))
    assert hopeful.score == pytest.approx(plain.score - 0.4)
    assert "the usual +0.40" in hopeful.rationale


@pytest.mark.parametrize(
    ("beyond", "score"), [(0.19, 0.0), (-0.19, 0.0), (0.3, 0.3), (-0.3, -0.3)]
)
def test_news_as_usual_are_a_neutral_opinion_and_not_a_silence(beyond, score):
    plain = only(RuleNewsJunior(), case(news=[item("profit rises")])).score
    said = only(RuleNewsJunior(), case(news=[item("profit rises")], tone=plain - beyond))
    assert said.score == pytest.approx(score, abs=1e-4)
    assert said.evidence == ("news:wire/profit rises",)


def test_news_junior_abstains_when_no_word_is_known_and_on_others_news():
    assert isinstance(only(RuleNewsJunior(), case(news=[item("annual meeting")])), Abstention)
    assert isinstance(
        only(RuleNewsJunior(), case(news=[item("profit rises", "BBB")])),
        Abstention,
    )


# --- technical -------------------------------------------------------------------------------


def test_technical_junior_follows_a_trend():
    up = only(RuleTechnicalJunior(), case(state(**RISING)))
    down = only(RuleTechnicalJunior(), case(state(**FALLING)))
    assert up.score > 0.5
    assert down.score < -0.5
    assert "feature:trend" in up.evidence


def test_a_sideways_market_trusts_contrarians_more():
    stretched = RISING | {"rsi_14": 0.9, "bollinger_position": 1.4, "return_5": 0.08}
    bull = only(RuleTechnicalJunior(), case(state(**stretched), regime="bull"))
    sideways = only(RuleTechnicalJunior(), case(state(**stretched), regime="sideways"))
    assert sideways.score < bull.score


def test_masked_features_are_skipped_and_cost_confidence():
    full = only(RuleTechnicalJunior(), case(state(**RISING)))
    partial = {k: v for k, v in RISING.items() if k not in ("relative_strength", "macd")}
    less = only(RuleTechnicalJunior(), case(state(**partial)))
    assert less.confidence < full.confidence
    assert "feature:macd" not in less.evidence
    few = {k: RISING[k] for k in ("volatility_20", "rsi_14", "return_5", "trend", "drawdown")}
    assert isinstance(only(RuleTechnicalJunior(), case(state(**few))), Abstention)


def test_levels_stand_on_the_right_sides_of_the_price():
    for features, order in ((RISING, -1), (FALLING, 1)):
        text = only(RuleTechnicalJunior(), case(state(**features))).rationale
        stop = float(text.split("stop ")[1].split(",")[0])
        target = float(text.split("target ")[1].rstrip("."))
        assert order * (stop - 100.0) > 0 > order * (target - 100.0)


@pytest.mark.parametrize(
    ("name", "sign", "features"),
    [
        ("breakout", 1, {"drawdown": 0.0, "volume_ratio": 2.0, "return_1": 0.02}),
        (
            "breakdown",
            -1,
            {"bollinger_position": -1.2, "trend": -0.02, "return_1": -0.03, "volume_ratio": 2.0},
        ),
        ("oversold bounce", 1, {"rsi_14": 0.2, "return_1": 0.02}),
        ("overbought fade", -1, {"rsi_14": 0.8, "return_1": -0.02}),
        ("squeeze", 1, {"volatility_ratio": 0.4, "trend": 0.02}),
        ("squeeze", -1, {"volatility_ratio": 0.4, "trend": -0.02}),
        ("gap held", 1, {"gap": 0.03, "return_1": 0.04}),
        ("gap held", -1, {"gap": -0.03, "return_1": -0.04}),
        ("gap faded", -1, {"gap": 0.03, "return_1": -0.01}),
        ("gap faded", 1, {"gap": -0.03, "return_1": 0.01}),
        ("pullback", 1, {"trend": 0.03, "return_5": -0.05, "bollinger_position": -0.5}),
        ("pullback", -1, {"trend": -0.03, "return_5": 0.05, "bollinger_position": 0.5}),
    ],
)
def test_each_pattern_is_found_where_it_was_planted(name, sign, features):
    calm = RISING | {"return_1": 0.0, "volume_ratio": 1.0, "trend": 0.0, "gap": 0.0}
    assert not find_patterns(calm)
    found = {p.name: p.vote for p in find_patterns(calm | features)}
    assert found[name] * sign > 0
    masked = {k: v for k, v in (calm | features).items() if k not in features}
    assert name not in {p.name for p in find_patterns(masked)}


# --- fundamental -----------------------------------------------------------------------------


def test_improving_figures_are_bullish_and_worsening_ones_bearish():
    better = only(RuleFundamentalJunior(), case(fundamentals=REPORTS))
    worse = only(
        RuleFundamentalJunior(),
        case(fundamentals=(report("2014-12-31", **PAST), report("2013-12-31", **GOOD))),
    )
    assert better.score > 0.5
    assert worse.score < -0.5
    assert set(better.evidence) == {"report:2014-12-31", "report:2013-12-31"}


def peers(**ratios):
    shared = {"earnings_yield": 0.05, "book_yield": 0.5, "profitability": 0.15, "growth": 0.05}
    others = [state(symbol, **shared) for symbol in ("BBB", "CCC", "DDD")]
    return case(state("AAA", **(shared | ratios)), *others, fundamentals=[report("2014-12-31")])


@pytest.mark.parametrize("ratio", ["earnings_yield", "book_yield", "profitability", "growth"])
def test_a_ratio_above_its_peers_is_bullish_and_below_bearish(ratio):
    high = only(RuleFundamentalJunior(), peers(**{ratio: 0.9}))
    low = only(RuleFundamentalJunior(), peers(**{ratio: 0.01}))
    assert high.score > 0 > low.score
    assert f"feature:{ratio}" in high.evidence


def test_masked_yields_leave_quality_at_less_confidence():
    full = only(RuleFundamentalJunior(), peers(profitability=0.5))
    masked = only(
        RuleFundamentalJunior(), peers(profitability=0.5, earnings_yield=None, book_yield=None)
    )
    assert masked.score > 0
    assert masked.confidence < full.confidence


def test_a_small_group_is_compared_with_the_whole_case():
    loner = state("AAA", group="Utilities", profitability=0.5)
    others = [state(symbol, profitability=0.1) for symbol in ("BBB", "CCC", "DDD")]
    answer = only(RuleFundamentalJunior(), case(loner, *others, fundamentals=[REPORTS[0]]))
    assert "peers' 10.0%" in answer.rationale


def test_of_one_period_the_last_filing_counts():
    restated = report("2014-12-31", filed_after=120, **PAST)
    first = only(RuleFundamentalJunior(), case(fundamentals=REPORTS))
    again = only(RuleFundamentalJunior(), case(fundamentals=(*REPORTS, restated)))
    shuffled = only(RuleFundamentalJunior(), case(fundamentals=(restated, *REPORTS)))
    assert again == shuffled
    assert again.score < first.score


def test_a_year_before_that_was_restated_counts_as_restated():
    restated = report("2013-12-31", filed_after=400, **GOOD)
    first = only(RuleFundamentalJunior(), case(fundamentals=REPORTS))
    for reports in ((*REPORTS, restated), (restated, *REPORTS)):
        assert only(RuleFundamentalJunior(), case(fundamentals=reports)).score < first.score


def test_a_stale_report_is_no_evidence():
    old = (report("2013-12-31", **GOOD), report("2012-12-31", **PAST))
    assert isinstance(only(RuleFundamentalJunior(), case(fundamentals=old)), Abstention)


# --- speed -----------------------------------------------------------------------------------


def test_eighty_eight_symbols_take_all_minds_under_thirty_milliseconds_of_processor():
    symbols = [f"S{i:02d}" for i in range(88)]
    ratios = {"earnings_yield": 0.05, "book_yield": 0.5, "profitability": 0.15, "growth": 0.05}
    states = [state(s, f"G{i % 9}", **RISING, **ratios) for i, s in enumerate(symbols)]
    the_case = case(
        *states,
        news=[item(f"profit rises in {n}", s) for s in symbols for n in ("May", "June", "July")],
        fundamentals=[
            report(f"{year}-12-31", s, **GOOD) for s in symbols for year in range(2007, 2015)
        ],
    )
    juniors = (RuleNewsJunior(), RuleTechnicalJunior(), RuleFundamentalJunior())
    times = []
    for _ in range(20):
        start = time.process_time()
        opinions = [answer for junior in juniors for answer in junior.opine(the_case, symbols)]
        proposals = RuleStrategist().propose(the_case, opinions)
        times.append(time.process_time() - start)
    assert len(opinions) == 264
    assert len({o.opinion_id for o in opinions}) == 264
    assert len(proposals) == 88
    assert min(times) < 0.030  # measured: 11 ms; see docs/agents.md
