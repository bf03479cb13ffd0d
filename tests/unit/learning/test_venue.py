"""The venue's arithmetic beside Nautilus's own numbers."""

import random

import numpy as np
import pytest
from nautilus_trader.core.nautilus_pyo3 import PriceType, get_exchange_rate
from nautilus_trader.model.objects import Currency, Money, Price, Quantity

from agents.messages import Instrument
from learning.twin.venue import (
    SlippageStream,
    fill_orders,
    fixed,
    make_terms,
    money,
    rounded,
    send_ranks,
)

USD = Currency.from_str("USD")
STOCK = Instrument(symbol="AAA", venue="SIM")
YEN = Instrument(
    symbol="USDJPY",
    venue="SIM",
    asset_class="forex",
    currency="JPY",
    price_precision=3,
    shortable=True,
)


def fill(order, *, held=0.0, average=0.0, instrument=STOCK, cost=0.003, slip=0.0, **quote):
    """Fill one order of one instrument; returns what `fill_orders` does."""
    quoted = {"bid": 100.0, "ask": 100.02, "size": 1_000.0, "tick": 0.01, "rate": 1.0} | quote
    source = (0, True) if instrument.currency == "JPY" else None
    return fill_orders(
        make_terms((instrument,), np.array([cost]), (source,), "USD"),
        SlippageStream(slip, 0, 1),
        np.array([[float(order)]]),
        np.zeros((1, 1), np.int64),
        np.array([[held]]),
        np.array([[average]]),
        rate_bid=np.array([[quoted["bid"]]]),
        rate_ask=np.array([[quoted["ask"]]]),
        **{name: np.array([[value]]) for name, value in quoted.items()},
    )


def test_money_is_rounded_as_nautilus_rounds_it():
    rng = np.random.default_rng(0)
    amounts = np.concatenate(
        [rng.integers(-(10**8), 10**8, 4_000) / 1_000, rng.normal(0, 1e5, 4_000), [0.125, -0.125]]
    )
    theirs = [Money(a, USD).as_double() for a in amounts]
    np.testing.assert_array_equal(fixed(money(amounts, 100.0), 100.0), theirs)


def test_the_double_below_one_half_rounds_down():
    below = np.nextafter(0.5, 0.0)
    assert rounded(np.array([below, -below, 0.5, -0.5, 2.5])).tolist() == [
        0.0,
        0.0,
        1.0,
        -1.0,
        3.0,
    ]


@pytest.mark.parametrize("digits", [0, 1, 2, 3, 5, 9, 12, 16])
def test_prices_and_quantities_are_the_doubles_that_nautilus_gives(digits):
    units = np.random.default_rng(digits).integers(1, 10 ** min(9 + digits, 15), 2_000)
    scale = 10.0**digits
    for kind in (Price, Quantity):
        theirs = [kind(u / scale, digits).as_double() for u in units.tolist()]
        np.testing.assert_array_equal(fixed(units.astype(float), scale), theirs)


def test_slips_are_those_of_the_engines_fill_model():
    stream = random.Random(42)
    expected = [stream.random() < 0.3 for _ in range(6_000)]
    slippage = SlippageStream(0.3, 42, 2)
    got = []
    for _ in range(3_000):
        sent = np.array([[True, False, True], [False, False, False]])
        drawn = slippage.draw(sent, np.array([[1, 0, 0], [0, 0, 0]]))
        got += [drawn[0, 2], drawn[0, 0]]  # in the order of their ranks
        assert not drawn[1].any()
    assert got == expected
    assert slippage.count.tolist() == [6_000, 0]


def test_what_is_beyond_the_touch_fills_one_tick_worse():
    done = fill(1_500).fills
    np.testing.assert_allclose(done.quantity[0, 0], [1_000, 500])
    np.testing.assert_allclose(done.price[0, 0], [100.02, 100.03])
    done = fill(-1_500, slip=1.0).fills
    np.testing.assert_allclose(done.quantity[0, 0], [-1_000, -500])
    np.testing.assert_allclose(done.price[0, 0], [99.99, 99.98])


def test_a_flip_realises_what_was_held_and_reopens_at_the_fill():
    done = fill(-300, held=100.0, average=90.0, cost=0.0)
    assert done.quantity[0, 0] == -200
    assert done.average[0, 0] == 100.0
    assert done.balance[0] == 100 * 10 * 100  # cents


def test_nothing_sent_changes_nothing():
    done = fill(0, held=10.0, average=90.0, bid=np.nan, ask=np.nan, size=np.nan, rate=np.nan)
    assert (done.quantity[0, 0], done.average[0, 0], done.balance[0]) == (10.0, 90.0, 0.0)
    assert not done.fills.quantity.any()


@pytest.mark.parametrize(
    ("order", "price", "kind"), [(1e6, 110.5, PriceType.ASK), (-1e6, 110.0, PriceType.BID)]
)
def test_a_fee_in_yen_is_whole_yen_and_is_converted_at_the_orders_side(order, price, kind):
    done = fill(order, instrument=YEN, bid=110.0, ask=110.5, rate=1 / 110.2, size=1e7)
    fee_yen = round(1e6 * price * 0.003)
    rate = float(get_exchange_rate("JPY", "USD", kind, {"USD/JPY": 110.0}, {"USD/JPY": 110.5}))
    assert -done.balance[0] == round(Money(fee_yen * rate, USD).as_double() * 100)
    assert done.fees[0] == pytest.approx(fee_yen / 110.2)


def test_reductions_are_sent_first_and_then_by_index():
    held = np.array([[0.0, 10.0, 5.0, -4.0]])
    order = np.array([[3.0, -10.0, 0.0, -1.0]])
    ranks = send_ranks(order, held)
    assert ranks[order != 0].tolist() == [1, 0, 2]
