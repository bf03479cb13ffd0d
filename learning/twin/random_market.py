"""
Random markets for `schedules`: instruments of every kind that the desk trades, and their bars.

Equities, FX pairs both ways round, gold in hundredths of an ounce, indices in yen and pounds; bars
of a session or within one, on an exchange's hours or around the clock; missing bars and sessions,
late listings and delistings, bars without volume, gaps, splits, dividends, risk-free rates. Prices
are made up and mean nothing.
"""

import numpy as np
import pandas as pd

from agents.arrays import BoolArray, FloatArray, IntArray
from agents.messages import AssetClass, Instrument, MacroValue
from backtest.market.market_data import ACTION_COLUMNS, BAR_COLUMNS, MarketData, canonical
from backtest.market.sessions import WEEKDAYS, XNYS

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
FIRST_DAY = 18_001  # days since 1970, a Monday
VENUE = "SIM"

# symbol, asset class, group, currency, first price, decimals, lot
_CONTRACTS: tuple[tuple[str, AssetClass, str, str, float, int, float], ...] = (
    ("EURUSD", "forex", "forex", "USD", 1.1, 5, 1.0),
    ("GBPUSD", "forex", "forex", "USD", 1.3, 5, 1000.0),
    ("USDJPY", "forex", "forex", "JPY", 110.0, 3, 1.0),
    ("XAUUSD", "commodity", "commodity", "USD", 1800.0, 2, 0.01),
    ("SPX500", "index", "index", "USD", 4000.0, 1, 0.01),
    ("JPN225", "index", "index", "JPY", 28_000.0, 0, 0.1),
    ("UKX100", "index", "index", "GBP", 7_000.0, 1, 0.01),
)
_PAIR_OF = {"JPY": "USDJPY", "GBP": "GBPUSD"}


def random_instruments(kind: str, rng: np.random.Generator) -> tuple[Instrument, ...]:
    """Return one to eight instruments, or 100 to 150, and the pairs that their currencies need."""
    least, most = {
        "wide baskets": (100, 151),
        "late listings": (2, 9),
        "delistings": (2, 9),
        "order rate": (3, 9),
    }.get(kind, (1, 9))
    count = int(rng.integers(least, most))
    chosen: dict[str, Instrument] = {}
    if kind == "foreign currency":
        chosen["USDJPY"] = _contract("USDJPY", rng, kind)
    equities = kind in ("dividends and splits", "volume cuts") or rng.random() < 0.4
    while len(chosen) < count or not chosen:
        if equities or rng.random() < 0.3:
            symbol = f"S{len(chosen)}"
            chosen[symbol] = Instrument(
                symbol=symbol,
                venue=VENUE,
                group=f"G{int(rng.integers(3))}",
                lot_size=float(
                    rng.choice([1.0, 1.0, 10.0, 100.0] if kind == "odd lots" else [1.0])
                ),
                cost_bps=_cost(rng),
                shortable=bool(rng.random() < (0.9 if kind == "order rate" else 0.15)),
            )
            equities = equities and rng.random() < 0.9
        else:
            symbol = str(rng.choice([row[0] for row in _CONTRACTS]))
            chosen[symbol] = _contract(symbol, rng, kind)
            pair = _PAIR_OF.get(chosen[symbol].currency)
            if pair is not None and pair not in chosen:
                chosen[pair] = _contract(pair, rng, kind)
    return tuple(sorted(chosen.values(), key=lambda i: i.symbol))


def _contract(symbol: str, rng: np.random.Generator, kind: str) -> Instrument:
    row = next(row for row in _CONTRACTS if row[0] == symbol)
    lots = [0.01, 0.25, 1.0, 7.0] if kind == "odd lots" and row[6] <= 1.0 else [row[6]]
    return Instrument(
        symbol=symbol,
        venue=VENUE,
        asset_class=row[1],
        group=row[2],
        currency=row[3],
        price_precision=row[5],
        lot_size=float(rng.choice(lots)),
        cost_bps=_cost(rng),
        shortable=True,
    )


def _cost(rng: np.random.Generator) -> float | None:
    return None if rng.random() < 0.6 else float(rng.choice([0.0, 0.5, 1.7, 5.0, 30.0]))


def random_market(
    kind: str,
    rng: np.random.Generator,
    instruments: tuple[Instrument, ...],
    sessions: int,
    warm_up: int,
    *,
    intraday: bool,
) -> MarketData:
    """
    Return a market of so many sessions, some of them perhaps halted after the first `warm_up`.

    Kinds, as in `schedules.KINDS`, set how much it halts, gaps, moves, pays and is listed.
    """
    exchange = all(i.asset_class == "equity" for i in instruments)
    opens, closes, ends, step_ns = _stamps(rng, sessions, exchange, intraday)
    missing = 0.15 if kind == "halts" else 0.02
    halted = rng.random(sessions) < (0.1 if kind == "halts" else 0.0)
    halted[: warm_up + 1] = halted[-1] = False
    listed = _listed(kind, rng, len(instruments), opens.shape, warm_up)
    tables, actions = [], []
    for instrument, there in zip(instruments, listed, strict=True):
        factor = np.ones(sessions)
        if instrument.asset_class == "equity" and (
            kind == "dividends and splits" or rng.random() < 0.1
        ):
            days = rng.choice(np.arange(2, sessions), int(rng.integers(1, 5)), replace=False)
            for day in days.tolist():
                split = float(rng.choice([1.0, 1.0, 2.0, 0.5, 1.5, 1.0 / 3.0, 1.0 / 20.0]))
                dividend = 0.0 if split != 1.0 else round(float(rng.uniform(0.01, 2.0)), 4)
                actions.append((instrument.symbol, int(opens[day, 0]), split, dividend))
                factor[day:] *= split
        table = _bars(kind, rng, instrument, opens, closes, factor)
        gone = rng.random(opens.shape) < missing
        gone |= (rng.random(sessions) < missing / 2)[:, None]
        gone |= halted[:, None]
        gone[: warm_up // 2] = False
        gone[-1, -1] = False
        gone |= ~there
        tables.append(table[~gone.ravel()])
    bars = pd.concat(tables, ignore_index=True)
    if not exchange:  # around the clock a session ends with its last bar
        close = bars["ts_close"].to_numpy(np.int64)
        ends = pd.Series(close).groupby(close // DAY_NS).max().to_numpy(np.int64)
    return canonical(
        MarketData(
            name="schedule",
            instruments=instruments,
            bars=bars[list(BAR_COLUMNS)],
            actions=pd.DataFrame(
                sorted(actions, key=lambda row: (row[1], row[0])), columns=list(ACTION_COLUMNS)
            ),
            session_closes=tuple(int(ts) for ts in ends),
            step_ns=step_ns,
            price_basis="unadjusted",
            macro=_rates(rng, opens, sessions),
            calendar=XNYS if exchange else WEEKDAYS,
        )
    )


def _listed(
    kind: str, rng: np.random.Generator, count: int, shape: tuple[int, ...], warm_up: int
) -> BoolArray:
    """
    Return when each instrument is listed, (N, T, K): one always, others late or not to the end.

    What vanishes may come again, after one session without a bar or many.
    """
    sessions, bars = shape
    listed = np.ones((count, sessions, bars), dtype=bool)
    flat = listed.reshape(count, -1)
    if kind not in ("late listings", "delistings"):
        return listed
    always = int(rng.integers(count))
    for i in np.flatnonzero(rng.random(count) < 0.7).tolist():
        if i == always:
            continue
        if kind == "late listings":
            flat[i, : int(rng.integers(bars, bars * (sessions - 1)))] = False
            continue
        end = int(rng.integers(bars * (warm_up // 2 + 1), bars * (sessions - 1)))
        gap = bars * (sessions if rng.random() < 0.4 else int(rng.integers(1, 12)))
        flat[i, end : end + gap] = False
    return listed


def _stamps(
    rng: np.random.Generator, sessions: int, exchange: bool, intraday: bool
) -> tuple[IntArray, IntArray, IntArray, int]:
    """Return openings and closes (T, K), the sessions' ends (T,) and a bar's length."""
    days = FIRST_DAY + np.arange(sessions) + 2 * (np.arange(sessions) // 5)
    if exchange:
        begin, length = 14 * HOUR_NS + HOUR_NS // 2, 6 * HOUR_NS + HOUR_NS // 2
        step = int(rng.choice([HOUR_NS // 2, HOUR_NS])) if intraday else length
    else:
        begin, length = 0, DAY_NS
        step = int(rng.choice([HOUR_NS, 4 * HOUR_NS, 8 * HOUR_NS])) if intraday else DAY_NS
    count = -(-length // step)
    start = days * DAY_NS + begin
    opens = start[:, None] + np.arange(count) * step
    ends = start + length
    closes = np.minimum(opens + step - 1, ends[:, None])
    if exchange and not intraday:
        closes = ends[:, None].copy()
    return (
        opens.astype(np.int64),
        closes.astype(np.int64),
        ends.astype(np.int64),
        step if intraday else 0,
    )


def _bars(
    kind: str,
    rng: np.random.Generator,
    instrument: Instrument,
    opens: IntArray,
    closes: IntArray,
    factor: FloatArray,
) -> pd.DataFrame:
    """Return the bars of one instrument, as quoted."""
    sessions, count = opens.shape
    row = next((row for row in _CONTRACTS if row[0] == instrument.symbol), None)
    prices = [0.03, 4.0, 40.0, 250.0, 3_000.0]
    first = float(rng.choice(prices)) if row is None else row[4]
    daily = {"stops": 0.03, "holding": 0.004, "ruin": 0.06}.get(kind, 0.012)
    scale = daily / np.sqrt(count)
    steps = rng.normal(0.0, scale, (sessions, count, 4))
    gap = rng.normal(0.0, 0.4 * scale, (sessions, count))
    if kind == "gaps" or rng.random() < 0.1:
        gap[:, 0] += np.where(rng.random(sessions) < 0.15, rng.uniform(-0.2, 0.2, sessions), 0.0)
    if rng.random() < 0.3:  # spans without a move
        steps[rng.random((sessions, count)) < 0.3] = 0.0
    path = first * np.exp(np.cumsum((steps[..., 0] + gap).ravel())).reshape(sessions, count)
    opened = path * np.exp(-steps[..., 0])
    quoted = path / factor[:, None], opened / factor[:, None]
    decimals = instrument.printed_precision
    close, open_ = (np.maximum(np.round(p, decimals), 10.0**-decimals) for p in quoted)
    high = np.maximum(open_, close) * (1 + np.abs(steps[..., 1]) / 2)
    low = np.minimum(open_, close) * (1 - np.abs(steps[..., 2]) / 2)
    base = float(rng.choice([300.0, 20_000.0, 2e6])) / count
    if kind == "volume cuts":
        base = 300.0 / count
    volume = np.round(base * np.exp(0.5 * steps[..., 3] / scale)) * (
        rng.random((sessions, count)) > 0.01
    )
    return pd.DataFrame(
        {
            "symbol": instrument.symbol,
            "ts_open": opens.ravel(),
            "ts_close": closes.ravel(),
            "open": open_.ravel(),
            "high": np.maximum(np.round(high, decimals), np.maximum(open_, close)).ravel(),
            "low": np.minimum(
                np.maximum(np.round(low, decimals), 10.0**-decimals), np.minimum(open_, close)
            ).ravel(),
            "close": close.ravel(),
            "volume": volume.ravel(),
        }
    )


def _rates(rng: np.random.Generator, opens: IntArray, sessions: int) -> tuple[MacroValue, ...]:
    """Return risk-free rates that become known at, before and after openings."""
    values = []
    for t in sorted(rng.choice(sessions, size=int(rng.integers(0, 6)), replace=False).tolist()):
        ts = int(opens[t, 0]) + int(rng.choice([-HOUR_NS, 0, HOUR_NS]))
        value = round(float(rng.uniform(0.0, 8.0)), 2)
        values.append(MacroValue(series="risk_free", ts_event=ts, ts_init=ts, value=value))
    return tuple(values)
