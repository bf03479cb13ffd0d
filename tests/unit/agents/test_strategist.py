import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.features.batch import MACRO_FEATURES
from agents.messages import JUNIORS, Case, MacroState, Opinion, Portfolio, TrackRecord
from agents.strategist.rule_strategist import RuleStrategist

SYMBOLS = ("AAA", "BBB", "CCC")


def case(track=(), horizon="medium"):
    return Case(
        ts_event=1,
        ts_init=1,
        trigger="schedule",
        horizon=horizon,
        instruments=(),
        macro=MacroState(
            ts_event=1, ts_init=1, features=(None,) * len(MACRO_FEATURES), regime="bull"
        ),
        portfolio=Portfolio(equity=1.0, cash=1.0, drawdown=0.0),
        track=tuple(track),
    )


def opinion(score, confidence=0.6, junior="technical", symbol="AAA"):
    return Opinion(
        opinion_id=f"{junior}/{symbol}/{score}/{confidence}",
        junior=junior,
        symbol=symbol,
        score=score,
        confidence=confidence,
        evidence=(),
        rationale="",
        model="test",
    )


scores = st.floats(-2.0, 2.0).map(lambda x: round(x, 4))
units = st.floats(0.0, 1.0).map(lambda x: round(x, 4))
opinions = st.builds(
    opinion,
    score=scores,
    confidence=units,
    junior=st.sampled_from(JUNIORS),
    symbol=st.sampled_from(SYMBOLS),
)
batches = st.lists(opinions, max_size=9, unique_by=lambda o: (o.junior, o.symbol))


@st.composite
def tracks(draw):
    track = []
    for junior in draw(st.lists(st.sampled_from(JUNIORS), unique=True)):
        calls = draw(st.integers(0, 1000))
        hits = draw(st.integers(0, calls))
        track.append(TrackRecord(junior=junior, hits=hits, calls=calls))
    return track


def only(the_opinions, track=()):
    (proposal,) = RuleStrategist().propose(case(track), the_opinions)
    return proposal


@given(batches, tracks())
def test_convictions_stay_within_one_and_every_opinion_has_its_proposal(batch, track):
    proposals = RuleStrategist().propose(case(track), batch)
    assert [p.symbol for p in proposals] == sorted({o.symbol for o in batch})
    for p in proposals:
        mine = [o for o in batch if o.symbol == p.symbol]
        assert abs(p.conviction) <= 1
        assert all(abs(c) <= 1 for c in p.conviction_without.values())
        assert set(p.conviction_without) == {o.junior for o in mine}
        assert set(p.cites) == {o.opinion_id for o in mine if o.confidence > 0}


@given(batches, tracks(), st.randoms(use_true_random=False))
def test_the_order_of_opinions_changes_nothing(batch, track, random):
    proposals = RuleStrategist().propose(case(track), batch)
    random.shuffle(batch)
    assert RuleStrategist().propose(case(track), batch) == proposals


@given(batches, tracks())
def test_bears_alone_never_buy_and_bulls_alone_never_sell(batch, track):
    bearish = [o for o in batch if o.score < 0]
    bullish = [o for o in batch if o.score > 0]
    assert "BUY" not in {p.action for p in RuleStrategist().propose(case(track), bearish)}
    assert "SELL" not in {p.action for p in RuleStrategist().propose(case(track), bullish)}


@given(
    st.lists(opinions, min_size=1, max_size=3, unique_by=lambda o: o.junior),
    tracks(),
    st.integers(1, 1000),
    st.data(),
)
def test_a_higher_hit_rate_never_lowers_a_juniors_influence(batch, track, calls, data):
    batch = [opinion(o.score, o.confidence, o.junior) for o in batch]
    junior = batch[0].junior
    fewer = data.draw(st.integers(0, calls - 1))
    more = data.draw(st.integers(fewer + 1, calls))
    others = [record for record in track if record.junior != junior]

    def influence(hits):
        record = TrackRecord(junior=junior, hits=hits, calls=calls)
        p = only(batch, [*others, record])
        return abs(p.conviction - p.conviction_without[junior])

    assert influence(more) >= influence(fewer) - 3e-6  # convictions are rounded to six digits


@given(batches, tracks())
def test_leave_one_out_is_the_conviction_of_the_others_alone(batch, track):
    for p in RuleStrategist().propose(case(track), batch):
        for junior, conviction in p.conviction_without.items():
            rest = [o for o in batch if o.symbol == p.symbol and o.junior != junior]
            assert conviction == (only(rest, track).conviction if rest else 0.0)


def test_no_opinion_makes_no_proposal():
    assert RuleStrategist().propose(case(), []) == []


def test_a_fresh_prior_trades_on_a_strong_opinion_and_holds_on_a_faint_one():
    assert only([opinion(1.5)]).action == "BUY"
    assert only([opinion(-1.5)]).action == "SELL"
    assert only([opinion(0.1)]).action == "HOLD"


def test_a_proven_junior_overrules_one_that_guesses():
    track = [
        TrackRecord(junior="news", hits=650, calls=1000),
        TrackRecord(junior="technical", hits=450, calls=1000),
    ]
    both = [opinion(1.0, junior="news"), opinion(-1.0, junior="technical")]
    assert only(both, track).action == "BUY"
    assert only([opinion(-2.0, 1.0)], track).action == "HOLD"


def test_a_proposal_cites_its_opinions_and_takes_the_cases_horizon():
    one = opinion(1.5)
    (p,) = RuleStrategist().propose(case(horizon="long"), [one])
    assert p.horizon == "long"
    assert p.cites == (one.opinion_id,)
    assert one.opinion_id in p.rationale


def test_an_opinion_without_confidence_is_not_cited():
    p = only([opinion(2.0, 0.0)])
    assert (p.action, p.conviction, p.cites) == ("HOLD", 0.0, ())


def test_agreement_raises_conviction_and_dissent_lowers_it():
    alone = only([opinion(1.0)]).conviction
    assert only([opinion(1.0), opinion(1.0, junior="news")]).conviction > alone
    assert only([opinion(1.0), opinion(-1.0, junior="news")]).conviction == pytest.approx(
        0.3 * (0.9 - 0.6) / 0.3 / (1 + 0.9 + 0.6) * 0.5, rel=1e-3
    )
