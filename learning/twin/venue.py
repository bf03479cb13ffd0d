"""
The venue's arithmetic over arrays: what the engine does with a market order, a book a row.

It reproduces NautilusTrader 1.231 as `backtest.engine.run_book` sets it up (margin account,
netting, a top-of-book of one quote), to the last bit of every amount that is booked:

- the first fill takes at most the touch's size at the quote, the rest is one tick worse, the
  tick being the market's at that price and coarser than the engine's last digit;
- one uniform an order is drawn, in the order of sending; below the probability both fills slip by
  a tick;
- an amount of money is a double rounded to the currency's last digit, halves away from zero;
  a fee is the rounded notional times the decimal fee, rounded again;
- a reducing fill realises its profit in the quote currency, rounded; profit and fee are turned
  into the account's currency apart, each rounded, at the bid when selling and the ask when
  buying, by the newest quote of the pair.

Prices and quantities are integers of the last digit inside. It knows no limits, no sessions and
no cash flows; it has no Python loop over books or instruments. `tests/parity` compares it with the
engine.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.gate.rules import QUANTITY_DECIMALS, grows
from agents.messages import Instrument
from config.currencies import decimals_of

FIXED_DIGITS = 16  # of Nautilus's fixed-point numbers
SLIPPAGE_BLOCK = 4096
EVERY_BOOK = slice(None)
ALMOST_HALF = np.nextafter(0.5, 0.0)  # the half itself would round 0.5 - 2^-54 up


@dataclass(frozen=True)
class Terms:
    """
    On what terms each instrument trades. Shapes: all (N,).

    `price_scale`, `size_scale` and `money_scale` are the integers of the last digit in one unit of
    price, quantity and quote currency; `fee_numerator / fee_denominator` is the fee as the
    exact decimal that Nautilus holds; `foreign` is True where the quote currency is not the
    account's, `inverse` where its pair is account/quote, `pair_scale` that pair's price scale.
    """

    price_scale: FloatArray
    size_scale: FloatArray
    money_scale: FloatArray
    fee_numerator: FloatArray
    fee_denominator: FloatArray
    foreign: BoolArray
    inverse: BoolArray
    pair_scale: FloatArray
    account_scale: float

    @property
    def any_foreign(self) -> bool:
        """Whether any amount needs an exchange rate."""
        return bool(self.foreign.any())


def make_terms(
    instruments: Sequence[Instrument],
    cost_frac: FloatArray,
    rate_sources: Sequence[tuple[int, bool] | None],
    currency: str,
) -> Terms:
    """Return the terms of a universe; `rate_sources` as in `strategies.desk.Universe`."""
    fees = [Decimal(str(float(cost))).as_tuple() for cost in cost_frac]
    digits = [int("".join(map(str, fee.digits))) for fee in fees]
    exponents = [int(fee.exponent) for fee in fees]
    price_scale = np.array([10.0**i.engine_precision for i in instruments])
    sources = [(i, False) if s is None else s for i, s in enumerate(rate_sources)]
    return Terms(
        price_scale=price_scale,
        size_scale=np.array([10.0**i.size_precision for i in instruments]),
        money_scale=np.array([_money_scale(i.currency) for i in instruments]),
        fee_numerator=np.array(
            [d * 10.0 ** max(e, 0) for d, e in zip(digits, exponents, strict=True)]
        ),
        fee_denominator=np.array([10.0 ** max(-e, 0) for e in exponents]),
        foreign=np.array([s is not None for s in rate_sources], dtype=bool),
        inverse=np.array([inverse for _, inverse in sources], dtype=bool),
        pair_scale=price_scale[[pair for pair, _ in sources]],
        account_scale=_money_scale(currency),
    )


@dataclass(frozen=True)
class Fills:
    """
    What was filled, the first fill of an order and the one beyond the touch.

    Shapes: quantity (R, N, 2) signed, 0 where none; price (R, N, 2); fee (R, N, 2) in the
    account's currency, as the desk records it: the venue's fee times the desk's rate.
    """

    quantity: FloatArray
    price: FloatArray
    fee: FloatArray


@dataclass(frozen=True)
class Executed:
    """
    The book after a dispatch.

    Shapes: quantity, average (R, N); balance (R,), the change in the account's smallest unit;
    traded (R,) notional and fees (R,) in the account's currency, as the desk's ledger counts them.
    """

    quantity: FloatArray
    average: FloatArray
    balance: FloatArray
    traded: FloatArray
    fees: FloatArray
    fills: Fills


class SlippageStream:
    """
    The slippage of a batch of books, each read from the stream of `SeededFills(probability,
    seed)`.

    `count` (B,) is how many each book has drawn; with a shift (B,) a book reads the stream from
    there on, so that the books of a batch do not slip alike. All books share one table.
    """

    def __init__(
        self, probability: float, seed: int, batch: int, *, shift: IntArray | None = None
    ) -> None:
        version, state, _ = random.Random(seed).getstate()
        assert version == 3  # the Mersenne Twister, read by NumPy to the same doubles
        twister = np.random.MT19937()
        twister.state = {
            "bit_generator": "MT19937",
            "state": {"key": np.array(state[:-1], dtype=np.uint32), "pos": state[-1]},
        }
        self._uniforms = np.random.Generator(twister)
        self._probability = probability
        self._slippage: BoolArray = np.zeros(0, dtype=bool)
        self._shift = np.zeros(batch, np.int64) if shift is None else shift.astype(np.int64)
        self.count: IntArray = np.zeros(batch, dtype=np.int64)

    def draw(
        self, sent: BoolArray, rank: IntArray, rows: IntArray | slice = EVERY_BOOK
    ) -> BoolArray:
        """
        Return which orders of the books `rows` slip, and go on in their streams.

        Shapes: sent (R, N), rank (R, N): an order's place among those sent, from 0.
        """
        at = (self._shift[rows] + self.count[rows])[:, None] + rank
        last = int(at.max(initial=0, where=sent))
        while last >= len(self._slippage):
            more = (
                self._uniforms.random(max(SLIPPAGE_BLOCK, len(self._slippage))) < self._probability
            )
            self._slippage = np.concatenate([self._slippage, more])
        self.count[rows] += sent.sum(axis=1)
        return np.asarray(self._slippage[np.where(sent, at, 0)] & sent)


def fill_orders(
    terms: Terms,
    slippage: SlippageStream,
    order: FloatArray,
    rank: IntArray,
    quantity: FloatArray,
    average: FloatArray,
    *,
    bid: FloatArray,
    ask: FloatArray,
    size: FloatArray,
    tick: FloatArray,
    rate: FloatArray,
    rate_bid: FloatArray,
    rate_ask: FloatArray,
    rows: IntArray | slice = EVERY_BOOK,
) -> Executed:
    """
    Fill market orders at their quotes and return the book after them.

    Shapes: all (R, N), of the books `rows` of the slippage. `order` is a signed quantity, 0 for
    none; `rank` as `send_ranks` returns it; `bid`, `ask`, the touch's `size` and the `tick` are
    the instrument's at the quote, of any value where no order is; `rate` is the desk's exchange
    rate of the quote currency; `rate_bid` and `rate_ask` are the newest quote of the pair that
    turns the quote currency into the account's (unused where not foreign).
    """
    sent = order != 0
    slipped = slippage.draw(sent, rank, rows)
    buys = order > 0
    side = np.where(buys, 1.0, -1.0)
    quote = np.where(sent, np.where(buys, ask, bid), 1.0)
    worse = side * np.rint(np.where(sent, tick, 0.0) * terms.price_scale)
    touch = np.rint(quote * terms.price_scale) + worse * slipped
    units = np.rint(np.abs(order) * terms.size_scale)
    first = np.fmin(units, np.rint(size * terms.size_scale))  # NaN where there is no quote
    exchange = _exchange(terms, buys, rate_bid, rate_ask)
    held, mean = quantity, average
    change = np.zeros(order.shape)
    traded = np.zeros(order.shape)
    fees = np.zeros(order.shape)
    parts: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for amount, at in ((first, touch), (units - first, touch + worse)):
        if parts and not amount.any():
            parts.append((np.zeros(order.shape), at / terms.price_scale, np.zeros(order.shape)))
            break
        price = fixed(at, terms.price_scale)
        size_filled = fixed(amount, terms.size_scale)
        signed = side * np.round(amount / terms.size_scale, QUANTITY_DECIMALS)
        commission = _commission(terms, size_filled * price)
        realised, held, mean = _apply(terms, held, mean, signed, size_filled, price)
        if terms.any_foreign:
            scale = terms.account_scale
            profit = rounded(fixed(realised, terms.money_scale) * exchange * scale)
            cost = rounded(fixed(commission, terms.money_scale) * exchange * scale)
            abroad = terms.foreign & sent  # a pair that nothing needs may have no quote yet
            change += np.where(abroad, profit - cost, realised - commission)
        else:
            change += realised - commission
        fee = fixed(commission, terms.money_scale) * rate
        traded += size_filled * price * rate
        fees += fee
        parts.append((signed, price, fee))
    fills = Fills(*(np.stack(pair, axis=-1) for pair in zip(*parts, strict=True)))
    return Executed(
        quantity=held,
        average=mean,
        balance=change.sum(axis=1),
        traded=traded.sum(axis=1),
        fees=fees.sum(axis=1),
        fills=fills,
    )


def send_ranks(order: FloatArray, quantity: FloatArray) -> IntArray:
    """
    Return each order's place in the dispatch: reductions first, then by index.

    Shapes: order, quantity (B, N) -> (B, N); without meaning where there is no order.
    """
    sent = order != 0
    enlarged = grows(quantity + order, quantity)
    cuts = sent & ~enlarged
    before = np.cumsum(cuts, axis=1)
    after = before[:, -1:] + np.cumsum(sent & enlarged, axis=1)
    return np.asarray(np.where(enlarged, after, before) - 1)


def money(amount: FloatArray, scale: FloatArray | float) -> FloatArray:
    """Return an amount as Nautilus's Money holds it, in integers of its last digit."""
    return rounded(amount * scale)


def rounded(value: FloatArray) -> FloatArray:
    """Return whole numbers, halves away from zero, as Rust's `f64::round` makes them."""
    return np.asarray(np.trunc(value + np.copysign(ALMOST_HALF, value)))


def fixed(units: FloatArray, scale: FloatArray | float) -> FloatArray:
    """
    Return the double that Nautilus gives for a fixed-point number of so many last digits.

    Its integer of 1e-16 is made a double before it is divided, which may miss the nearest one.
    """
    return units * (10.0**FIXED_DIGITS / scale) / 10.0**FIXED_DIGITS


def _exchange(
    terms: Terms, buys: BoolArray, rate_bid: FloatArray, rate_ask: FloatArray
) -> FloatArray:
    """Return what the venue makes of one unit of each quote currency, in the account's."""
    if not terms.any_foreign:
        return np.ones(buys.shape)
    # selling asks for the bid of quote/account, which is one over the ask of its inverse
    pair = np.where(buys != terms.inverse, rate_ask, rate_bid)
    ticks = np.rint(np.where(terms.foreign, pair, 1.0) * terms.pair_scale)
    exact = np.where(terms.inverse, terms.pair_scale / ticks, ticks / terms.pair_scale)
    return np.where(terms.foreign, exact, 1.0)


def _commission(terms: Terms, notional: FloatArray) -> FloatArray:
    """Return the fee, in integers of the quote currency's last digit."""
    units = rounded(notional * terms.money_scale)
    exact = units * terms.fee_numerator / (terms.fee_denominator * terms.money_scale)
    return rounded(exact * terms.money_scale)


def _apply(
    terms: Terms,
    held: FloatArray,
    average: FloatArray,
    signed: FloatArray,
    size_filled: FloatArray,
    price: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the realised profit (quote currency's last digits), the new holding and average."""
    size_held = fixed(np.rint(np.abs(held) * terms.size_scale), terms.size_scale)
    after = np.round(held + signed, QUANTITY_DECIMALS)
    reduces = held * signed < 0
    closed = np.minimum(np.minimum(size_filled, size_held), np.abs(held))
    points = np.where(held > 0, price - average, average - price)
    realised = np.where(reduces, rounded(closed * points * terms.money_scale), 0.0)
    total = size_held + size_filled
    blended = (average * size_held + price * size_filled) / np.where(total > 0, total, 1.0)
    crossed = held * after < 0
    mean = np.where(signed == 0, average, np.where(held == 0, price, blended))
    mean = np.where(reduces, np.where(crossed, price, average), mean)
    return realised, after, np.where(after == 0, 0.0, mean)


def _money_scale(currency: str) -> float:
    return 10.0 ** decimals_of(currency)
