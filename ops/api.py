"""
Gives Python an analyst, or the whole hierarchy, on the newest stored data.

    from ops.api import Coordinator, NewsJunior

    print(Coordinator().analyze("AAPL").recommendation)
    print(NewsJunior().analyze("AAPL", lookback_days=7))

The case is the desk's own, made by the engine at the newest session of the data; the account is
new and holds nothing. `as_of` is the newest stamp that is stored, never the wall clock. It works
offline; it learns nothing and writes nothing but completions that a language model gave.
"""

from pathlib import Path

import msgspec

from agents.arrays import Panel
from agents.baselines import BuyAndHold
from agents.messages import (
    JUNIORS,
    Abstention,
    Action,
    Case,
    Decision,
    Instrument,
    Message,
    Opinion,
    Proposal,
    TrackRecord,
    Verdict,
    VerdictLine,
)
from agents.protocols import Mind
from backtest.market.accounts import with_account
from backtest.market.book_kinds import as_book
from backtest.market.catalog import list_catalogs
from backtest.market.market_data import MarketData, window
from backtest.market.sessions import DAY_NS
from backtest.sources import open_source
from config.errors import ConfigError
from config.settings import Settings, load_settings
from config.sources import PACKAGED
from ops.composition.overruled import desk_word, overruled, strategist_word


class Analysis(Message, frozen=True, kw_only=True):
    """
    What the hierarchy says of one instrument at `as_of`, UTC nanoseconds.

    `recommendation` is the order that the desk would send in an account that holds nothing: BUY,
    SELL, or HOLD for none. `strategist` is the strategist's own word, "ABSTAIN" where no junior
    had an opinion or it cites none; where the two differ, `overruled` says by whom and why.
    `confidence` is the mean confidence of the opinions that the proposal cites, 0 without any.
    `target_weight` is what the allocator asks for, `allowed_weight` what the gate leaves of it,
    `held_weight` what is held, fractions of equity.
    """

    symbol: str
    as_of: int
    source: str
    minds: str
    recommendation: Action
    strategist: str
    overruled: str
    conviction: float
    confidence: float
    opinions: tuple[Opinion, ...]
    abstentions: tuple[Abstention, ...]
    proposal: Proposal | None
    target_weight: float
    allowed_weight: float
    held_weight: float
    limit: str


class Coordinator:
    """The whole hierarchy: all three juniors, the strategist, the allocator and the gate."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        source: str | None = None,
        state: Path | None = None,
        completions: Path | None = None,
    ) -> None:
        self._settings = settings or load_settings("backtest")
        self._source = source
        self._state = state
        self._completions = completions

    def analyze(self, symbol: str, *, lookback_days: int = 7) -> Analysis:
        """
        Return the analysis of a symbol on the newest stored data that hold it.

        News counts where it is at most `lookback_days` old. Raises ConfigError where no stored
        data hold the symbol.
        """
        source, market = newest_data(symbol, self._settings, self._source)
        market, settings = as_book(*with_account(market, self._settings))
        from agents.supervisor.plain_routers import AlwaysAll
        from ops.composition.model_minds import build_market_mind, open_models

        with open_models(self._settings, self._completions) as models:
            mind = build_market_mind(market, settings, models, self._state)
            mind.router = AlwaysAll()
            case, decision, verdict = decide_newest(market, settings, mind, lookback_days)
            heard = {o.junior for o in decision.opinions if o.symbol == symbol}
            heard |= {a.junior for a in decision.abstentions if a.symbol == symbol}
            # without evidence they were not asked: they say why they have nothing to say
            silent = mind.juniors.opine(case, {j: [symbol] for j in JUNIORS if j not in heard})
        abstentions = (*decision.abstentions, *(a for a in silent if isinstance(a, Abstention)))
        decision = msgspec.structs.replace(decision, abstentions=abstentions)
        instrument = next(i for i in market.instruments if i.symbol == symbol)
        return _analysis(instrument, source, settings, case, decision, verdict)


class NewsJunior:
    """The news junior on its own."""

    def __init__(self, settings: Settings | None = None, *, source: str | None = None) -> None:
        self._settings = settings or load_settings("backtest")
        self._source = source

    def analyze(self, symbol: str, *, lookback_days: int = 7) -> Opinion | Abstention:
        """Return its opinion on the newest stored news of a symbol, or its abstention."""
        _, market = newest_data(symbol, self._settings, self._source)
        from ops.composition.model_minds import build_market_mind, open_models

        market, settings = with_account(market, self._settings)
        case, _, _ = decide_newest(market, settings, BuyAndHold(), lookback_days)
        with open_models(settings) as models:
            mind = build_market_mind(market, settings, models)
            return mind.juniors.opine(case, {"news": [symbol]})[0]


class _Newest(Mind):
    """A mind that sees only recent news, and keeps the case that it was given."""

    def __init__(self, inner: Mind, lookback_days: int) -> None:
        self.name = inner.name
        self.case: Case | None = None
        self._inner = inner
        self._lookback_ns = lookback_days * DAY_NS

    def track(self) -> tuple[TrackRecord, ...]:
        return self._inner.track()

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        oldest = case.ts_init - self._lookback_ns
        recent = tuple(item for item in case.news if item.ts_init >= oldest)
        self.case = msgspec.structs.replace(case, news=recent)
        return self._inner.decide(self.case, panel, latency_ns=latency_ns, expires=expires)


def newest_data(symbol: str, settings: Settings, source: str | None) -> tuple[str, MarketData]:
    """
    Return the source that holds the newest session of a symbol, and its market.

    With `source` only that one is looked at. Raises ConfigError where none holds it.
    """
    if source is not None:
        names = [source]
    else:
        names = [c.name for c in list_catalogs() if symbol in c.symbols]
        names += PACKAGED
    found: list[tuple[int, str, MarketData]] = []
    known: set[str] = set()
    for name in names:
        market = open_source(name, seed=settings.seed)
        known |= set(market.symbols)
        traded = market.bars.loc[market.bars["symbol"] == symbol, "ts_close"]
        if len(traded):
            found.append((int(traded.iloc[-1]), name, market))
    if not found:
        some = ", ".join(sorted(known)[:12])
        raise ConfigError(f"expected a symbol of the stored data ({some}), was {symbol!r}")
    _, name, market = max(found, key=lambda f: (f[0], f[1]))
    return name, market


def decide_newest(
    market: MarketData, settings: Settings, mind: Mind, lookback_days: int
) -> tuple[Case, Decision, Verdict]:
    """Return the case of a market's newest session, a mind's decision and the gate's verdict."""
    from backtest.engine.book_spec import BookSpec
    from backtest.engine.run_book import run_book
    from backtest.plan import warmup_sessions

    kept, decide_from = window(market, market.session_closes[-1], warmup_sessions(settings))
    newest = _Newest(mind, lookback_days)
    book = run_book(BookSpec(mind.name, kept, settings, decide_from), newest)
    (decision,) = book.records.of(Decision)
    verdict = next(v for v in book.records.of(Verdict) if v.stage == "delivery")
    assert newest.case is not None  # it decided
    return newest.case, decision, verdict


def _analysis(
    instrument: Instrument,
    source: str,
    settings: Settings,
    case: Case,
    decision: Decision,
    verdict: Verdict,
) -> Analysis:
    symbol = instrument.symbol
    proposal = next((p for p in decision.proposals if p.symbol == symbol), None)
    opinions = tuple(o for o in decision.opinions if o.symbol == symbol)
    cited = [] if proposal is None else [o for o in opinions if o.opinion_id in proposal.cites]
    nothing = VerdictLine(symbol=symbol, held=0.0, asked=0.0, allowed=0.0)
    line = next((line for line in verdict.lines if line.symbol == symbol), nothing)
    word = desk_word(case, settings, instrument, line)
    return Analysis(
        symbol=symbol,
        as_of=case.ts_init,
        source=source,
        minds=decision.minds,
        recommendation=word.action,
        strategist=strategist_word(proposal),
        overruled=overruled(
            word,
            proposal,
            decision.allocation,
            line,
            shortable=instrument.shortable,
            exit_conviction=settings.allocator.exit_conviction,
        ),
        conviction=0.0 if proposal is None else proposal.conviction,
        confidence=sum(o.confidence for o in cited) / len(cited) if cited else 0.0,
        opinions=opinions,
        abstentions=tuple(a for a in decision.abstentions if a.symbol == symbol),
        proposal=proposal,
        target_weight=line.asked,
        allowed_weight=line.allowed,
        held_weight=line.held,
        limit=line.limit,
    )
