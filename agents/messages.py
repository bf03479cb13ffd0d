"""
The vocabulary, on one page, in flow order.

`NewsItem`, `FundamentalsReport`, `MacroValue` -> `Case` -> `Route` -> `Opinion` or `Abstention`
-> `Proposal` -> `Allocation` -> `Decision` -> `Verdict` -> `OrderRecord`, `FillRecord`
-> `Outcome` -> `Reward`.

Every message is a frozen struct; one definition gives the type, the range check, the JSON
Schema and the stored form. `ts_event` is when a thing happened, `ts_init` when it became known,
both UTC nanoseconds. Weights are fractions of equity, signed. A masked number is None, never 0
and never NaN. This page knows no venue, no clock and no store.
"""

import hashlib
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from config.currencies import pair_of
from config.errors import FutureDataError

type JuniorName = Literal["news", "technical", "fundamental"]
type Action = Literal["BUY", "HOLD", "SELL"]
type Horizon = Literal["short", "medium", "long"]
type Regime = Literal["bull", "bear", "sideways"]
type AssetClass = Literal["equity", "forex", "commodity", "index", "crypto"]

JUNIORS: tuple[JuniorName, ...] = ("news", "technical", "fundamental")

# The seven routes: the non-empty subsets of the juniors, by size and then in JUNIORS' order.
ROUTES: tuple[tuple[JuniorName, ...], ...] = (
    ("news",),
    ("technical",),
    ("fundamental",),
    ("news", "technical"),
    ("news", "fundamental"),
    ("technical", "fundamental"),
    ("news", "technical", "fundamental"),
)

HORIZON_SESSIONS: dict[Horizon, int] = {"short": 1, "medium": 5, "long": 20}

Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Signed = Annotated[float, Meta(ge=-1.0, le=1.0)]
Score = Annotated[float, Meta(ge=-2.0, le=2.0)]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all messages: frozen, keyword-only, unknown fields refused."""


# --- what the world says ---------------------------------------------------------------------


class Instrument(Message, frozen=True, kw_only=True):
    """
    The static facts of one tradable thing.

    `cost_bps` is the instrument's own cost per fill in basis points of notional; None means the
    configured default. `group` is the GICS sector of an equity, the domain of anything else.
    `price_precision` is the decimals of the market's tick; prices are kept finer than that.
    """

    symbol: str
    venue: str
    asset_class: AssetClass = "equity"
    group: str = "Unknown"
    currency: str = "USD"
    price_precision: Annotated[int, Meta(ge=0, le=9)] = 2
    lot_size: Annotated[float, Meta(gt=0)] = 1.0
    cost_bps: Annotated[float, Meta(ge=0)] | None = None
    shortable: bool = False

    @property
    def printed_precision(self) -> int:
        """The decimals that a price is kept with, as printed: four more than the tick's."""
        return self.price_precision + 4

    @property
    def engine_precision(self) -> int:
        """
        The decimals of the engine's prices, which splits scale: seven more than the tick's.

        At most the 16 of Nautilus's fixed-point numbers. A double holds prices of up to some
        10^8 ticks exactly.
        """
        return self.price_precision + 7

    @property
    def size_precision(self) -> int:
        """The decimals of the lot: those of orders and of the engine's volumes."""
        exponent = Decimal(str(self.lot_size)).normalize().as_tuple().exponent
        return max(0, -int(exponent))

    @property
    def funded(self) -> bool:
        """Whether holding it needs its whole price in cash, as with a stock or a coin."""
        return self.asset_class in ("equity", "crypto")

    @property
    def pair(self) -> tuple[str, str] | None:
        """Base and quote, where it is a pair that is quoted in the second of them; else None."""
        pair = None if self.asset_class in ("equity", "index") else pair_of(self.symbol)
        return pair if pair is not None and pair[1] == self.currency else None


class NewsItem(Message, frozen=True, kw_only=True):
    """One headline or post about one instrument; unique by (source, item_id)."""

    symbol: str
    ts_event: int
    ts_init: int
    source: str
    item_id: str
    headline: str
    body: str = ""

    @property
    def text(self) -> str:
        """What of it is scored."""
        return f"{self.headline}\n{self.body}" if self.body else self.headline


class FundamentalsReport(Message, frozen=True, kw_only=True):
    """
    The figures of one reporting period; `ts_event` is the period's end, `ts_init` the filing.

    `figures` uses the names of `agents.features.ledgers.FIGURES`; one that was not reported is
    absent.
    """

    symbol: str
    ts_event: int
    ts_init: int
    period: Literal["quarter", "annual"]
    figures: dict[str, float]


class MacroValue(Message, frozen=True, kw_only=True):
    """
    One observation of one macro series, named as in `agents.features.ledgers.MACRO_SERIES`.

    Yields, spreads and the risk-free rate are in percent a year, the VIX in its own points.
    """

    series: str
    ts_event: int
    ts_init: int
    value: float


# --- what is to be decided -------------------------------------------------------------------


class InstrumentState(Message, frozen=True, kw_only=True):
    """
    What is known of one instrument at a case's stamp.

    `price` is the last close as quoted that day; `features` follow
    `agents.features.batch.INSTRUMENT_FEATURES`; `ts_init` is when the newest bar became known.
    """

    symbol: str
    group: str
    ts_event: int
    ts_init: int
    price: float
    features: tuple[float | None, ...]
    weight: float = 0.0
    shortable: bool = False


class MacroState(Message, frozen=True, kw_only=True):
    """
    The macro features, in the order of `agents.features.batch.MACRO_FEATURES`.

    `news_tone` is the mean score that news of the universe, known so far, usually have.
    """

    ts_event: int
    ts_init: int
    features: tuple[float | None, ...]
    regime: Regime
    news_tone: Score = 0.0


class TrackRecord(Message, frozen=True, kw_only=True):
    """
    What a junior's opinions came to: how often the sign was right, over its last closed ones.

    `rank_ic` is the mean rank correlation of its scores with what followed, over all decisions;
    `outcomes` is how many independent outcomes it rests on (`agents.juniors.track`).
    """

    junior: JuniorName
    hits: int
    calls: int
    rank_ic: Signed = 0.0
    outcomes: Annotated[float, Meta(ge=0.0)] = 0.0

    @property
    def hit_rate(self) -> float:
        """The hit rate shrunk to one half by ten imagined calls (a Beta(5, 5) prior)."""
        return (self.hits + 5.0) / (self.calls + 10.0)


class SessionReturns(Message, frozen=True, kw_only=True):
    """
    Every instrument's simple total return over one session, None where it did not trade.

    Rows of these, oldest first, are the panel that allocators are given with a case.
    """

    ts_event: int
    symbols: tuple[str, ...]
    returns: tuple[float | None, ...]


class Portfolio(Message, frozen=True, kw_only=True):
    """The account at a case's stamp, in the account's currency; `drawdown` is 0..1."""

    equity: float
    cash: float
    drawdown: Unit


class Case(Message, frozen=True, kw_only=True):
    """
    What is to be decided, for the whole universe at one instant.

    Holds only what was known: every item's `ts_init` is at most `ts_init`, checked when the
    case is made. `instruments` are sorted by symbol; `news` holds what arrived since the last
    case, newest first within a symbol; `fundamentals` the newest reports of each symbol.
    `panel_digest` is the hash of the return panel that goes with it.

    Raises FutureDataError if an item became known after the case.
    """

    ts_event: int
    ts_init: int
    trigger: Literal["schedule", "news"]
    horizon: Horizon
    instruments: tuple[InstrumentState, ...]
    macro: MacroState
    portfolio: Portfolio
    news: tuple[NewsItem, ...] = ()
    fundamentals: tuple[FundamentalsReport, ...] = ()
    track: tuple[TrackRecord, ...] = ()
    panel_digest: str = ""

    def __post_init__(self) -> None:
        items: tuple[InstrumentState | MacroState | NewsItem | FundamentalsReport, ...]
        items = (*self.instruments, self.macro, *self.news, *self.fundamentals)
        for item in items:
            if item.ts_init > self.ts_init:
                raise FutureDataError(
                    f"expected only what was known at {self.ts_init}, "
                    f"was {type(item).__name__} known at {item.ts_init}"
                )

    @property
    def decision_id(self) -> str:
        """The first 24 hex digits of the SHA-256 of the case's stored form."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:24]


# --- what the minds answer -------------------------------------------------------------------


class Route(Message, frozen=True, kw_only=True):
    """
    Which juniors are asked about one instrument, and why.

    `arm` indexes ROUTES; `context` has 16 numbers; `scores` the 7 upper confidence bounds, None
    for a route that could not be taken because it asks a junior without evidence in the case;
    `propensity` is the probability with which the arm was chosen.
    """

    symbol: str
    arm: Annotated[int, Meta(ge=0, le=6)]
    context: tuple[float, ...]
    scores: tuple[float | None, ...]
    propensity: Unit = 1.0

    @property
    def juniors(self) -> tuple[JuniorName, ...]:
        """The juniors that this route asks."""
        return ROUTES[self.arm]


class Opinion(Message, frozen=True, kw_only=True):
    """One junior's view of one instrument: `score` -2 (very bearish) to 2 (very bullish)."""

    opinion_id: str
    junior: JuniorName
    symbol: str
    score: Score
    confidence: Unit
    evidence: tuple[str, ...]
    rationale: str
    model: str
    prompt_revision: str = ""
    latency_ns: int = 0
    tokens: int = 0


class Abstention(Message, frozen=True, kw_only=True):
    """A junior that has nothing to say of an instrument, and why. Not a hold."""

    junior: JuniorName
    symbol: str
    reason: str
    model: str
    latency_ns: int = 0
    tokens: int = 0


class Proposal(Message, frozen=True, kw_only=True):
    """
    The strategist's answer for one instrument.

    `cites` are opinion ids; a proposal that cites none is an abstention and carries no view.
    `conviction_without` is the conviction had each routed junior been silent (leave-one-out).
    `tokens` are those of all questions behind it; a rule-backed strategist names no prompt.
    """

    symbol: str
    action: Action
    conviction: Signed
    horizon: Horizon
    rationale: str
    cites: tuple[str, ...]
    conviction_without: dict[str, float] = {}
    model: str = ""
    prompt_revision: str = ""
    latency_ns: int = 0
    tokens: int = 0


class Allocation(Message, frozen=True, kw_only=True):
    """
    Target weights by symbol, the groups' budgets, and which policies made them.

    `views` names the instruments whose proposal moved its weight, sorted; every other weight is
    the baseline allocation's, or a trained policy's.
    """

    regime: Regime
    top_policy: str
    bottom_policy: str
    group_budgets: dict[str, float]
    weights: dict[str, float]
    views: tuple[str, ...] = ()


class Decision(Message, frozen=True, kw_only=True):
    """
    All of the above, frozen.

    `ts_event` is the case's stamp; `ts_init` is when the decision may first be acted on
    (stamp + latency); after `expires` it is dropped. The latency is replayed or configured,
    never measured.
    """

    decision_id: str
    ts_event: int
    ts_init: int
    expires: int
    trigger: str
    minds: str
    routes: tuple[Route, ...]
    opinions: tuple[Opinion, ...]
    abstentions: tuple[Abstention, ...]
    proposals: tuple[Proposal, ...]
    allocation: Allocation


# --- what happens ----------------------------------------------------------------------------


class VerdictLine(Message, frozen=True, kw_only=True):
    """One instrument's weight: held, asked, allowed, and which limit cut it ("" if none)."""

    symbol: str
    held: float
    asked: float
    allowed: float
    limit: str = ""


class Verdict(Message, frozen=True, kw_only=True):
    """
    The gate's answer to a decision, at the prices of `ts_event`.

    `stage` is "delivery" when the decision arrives and "dispatch" when its orders are sized at
    the prices they are sent at; "risk" is the gate acting on its own (stop, drift).
    `var_frac` is the one-day 99% VaR of the allowed book, None while history is too short.
    """

    decision_id: str
    ts_event: int
    ts_init: int
    stage: Literal["delivery", "dispatch", "risk"]
    lines: tuple[VerdictLine, ...]
    var_frac: float | None = None


type OrderReason = Literal["decision", "stop", "limit", "delisted"]  # why an order was sent


class OrderRecord(Message, frozen=True, kw_only=True):
    """One market order. `ts_decided` <= `ts_held` < `ts_price` == `ts_event` in simulation."""

    decision_id: str
    order_id: str
    symbol: str
    ts_decided: int
    ts_held: int
    ts_event: int
    quantity: float
    reason: OrderReason


class FillRecord(Message, frozen=True, kw_only=True):
    """One fill; price and quantity as quoted that day; commission in the account's currency."""

    decision_id: str
    order_id: str
    fill_id: str
    symbol: str
    ts_event: int
    ts_price: int
    quantity: float
    price: float
    commission: float


class Outcome(Message, frozen=True, kw_only=True):
    """
    How one proposal ended, at its horizon's end.

    All are total returns from the decision's first tradable price over the horizon, not
    annualised. `instrument_return`, `benchmark_return` and `group_return` are of being long;
    `realised` is of one unit in the conviction's direction, net of costs both ways, and 0 without
    a conviction. `volatility` is over the same horizon. `leave_one_out` is each routed junior's
    share of conviction times the instrument's return.
    """

    decision_id: str
    symbol: str
    ts_event: int
    ts_init: int
    horizon: Horizon
    arm: int
    conviction: float
    instrument_return: float
    realised: float
    volatility: float
    max_drawdown: float
    benchmark_return: float
    group_return: float
    leave_one_out: dict[str, float]


class Reward(Message, frozen=True, kw_only=True):
    """The reward that a learner is given for one outcome; `learner` names which."""

    decision_id: str
    symbol: str
    ts_event: int
    learner: str
    value: float
    tokens: int = 0


class TrainingRecord(Message, frozen=True, kw_only=True):
    """
    What a policy was trained on.

    `source` names the market and `digest` is its content; the training windows lie within
    `first_ts`..`last_ts`, UTC nanoseconds. `seeds` are those of simulated markets, none for
    real data. `steps` counts environment steps, `seed` is the trainer's.
    """

    source: str
    digest: str
    first_ts: Annotated[int, Meta(ge=0)]
    last_ts: Annotated[int, Meta(ge=0)]
    seeds: tuple[int, ...] = ()
    steps: Annotated[int, Meta(ge=0)] = 0
    seed: int = 0
