"""Cases small enough to read, made without an engine."""

from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES
from agents.messages import Case, InstrumentState, MacroState, NewsItem, Portfolio

DAY = 86_400_000_000_000
NOW = 1_440_000_000_000_000_000
RISING = {
    "return_5": 0.02,
    "return_20": 0.06,
    "volatility_20": 0.25,
    "rsi_14": 0.75,
    "trend": 0.05,
}


def state(symbol="AAA", group="Tech", price=100.0, **features):
    assert not set(features) - set(INSTRUMENT_FEATURES)
    return InstrumentState(
        symbol=symbol,
        group=group,
        ts_event=NOW,
        ts_init=NOW,
        price=price,
        features=tuple(features.get(name) for name in INSTRUMENT_FEATURES),
    )


def item(headline, symbol="AAA", days=0.0, item_id=None, body=""):
    ts = NOW - int(days * DAY)
    return NewsItem(
        symbol=symbol,
        ts_event=ts,
        ts_init=ts,
        source="wire",
        item_id=item_id or headline[:20],
        headline=headline,
        body=body,
    )


def case(*states, news=(), fundamentals=(), regime="bull", track=(), tone=0.0):
    return Case(
        ts_event=NOW,
        ts_init=NOW,
        trigger="schedule",
        horizon="medium",
        instruments=states or (state(),),
        macro=MacroState(
            ts_event=NOW,
            ts_init=NOW,
            features=(None,) * len(MACRO_FEATURES),
            regime=regime,
            news_tone=tone,
        ),
        portfolio=Portfolio(equity=1e5, cash=1e5, drawdown=0.0),
        news=tuple(news),
        fundamentals=tuple(fundamentals),
        track=tuple(track),
    )
