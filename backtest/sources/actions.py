"""
Reads splits and dividends, or derives them from adjusted closes, and tells the prices' basis.

With f = adj_close / close, f changes only where something was paid or split: f_t / f_{t-1} = r
means a split of r new shares per old one where r is a ratio of small integers and the raw close
falls by as much, else a dividend of close_{t-1} (1 - 1/r) per share. A change within what the
printed decimals can explain is noise. Spin-offs are not recognised: they count as dividends.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.arrays import FloatArray
from backtest.market.market_data import ACTION_COLUMNS, PriceBasis
from backtest.sources.findings import Notes
from backtest.sources.known import printed_decimals

SPLIT_AT_LEAST = 1.2  # or at most 0.8
RAW_MATCH = 0.25  # in logs, how far the day's own return may blur a split's fall
RATIO_MATCH = 0.01
_RATIOS = np.array(
    sorted({n / m for n in range(1, 11) for m in range(1, 11)} | {1 / 15, 15.0, 1 / 20, 20.0})
)


@dataclass(frozen=True)
class Actions:
    """
    One table's actions and price basis.

    `rows` has symbol, ts (the bar's opening), split, dividend.
    """

    rows: pd.DataFrame
    basis: PriceBasis


def derive(
    bars: pd.DataFrame, label: str, given: PriceBasis | None, contract: bool, notes: Notes
) -> Actions:
    """
    Return the actions of one table's stamped bars, and the basis of its prices.

    What was inferred is noted.

    `given` is the basis that source.yaml states; `contract` marks FX and CFDs, which have no
    actions. Explicit columns win over adjusted closes.
    """
    explicit = [c for c in ("dividends", "stock_splits") if c in bars]
    basis: PriceBasis
    if explicit:
        rows, basis = _explicit(bars, notes, label)
    elif "adj_close" in bars:
        rows = _from_adjusted(bars, notes, label)
        split = bool((rows["split"] != 1.0).any())
        basis = "unadjusted" if split else "split_adjusted"
        if given is None:
            seen = "raw prices fall at splits" if split else "no split seen, cannot be told apart"
            notes.add(f"prices taken as {basis} ({seen})", label)
    else:
        rows = _rows(bars.iloc[:0], np.empty(0), np.empty(0))
        basis = "unadjusted" if contract else "split_adjusted"
        if given is None and not contract:
            notes.add(f"no actions and no adjusted closes, prices taken as {basis}", label)
    basis = given or basis
    if basis == "adjusted":
        rows = rows.iloc[:0]
    elif basis == "split_adjusted":
        rows = rows.assign(split=1.0)[rows["dividend"] > 0]
    return Actions(rows.reset_index(drop=True), basis)


def with_actions(bars: pd.DataFrame, dated: pd.DataFrame) -> pd.DataFrame:
    """Return the bars with each dated action on its symbol's first bar at or after it."""
    columns = ["dividends", "stock_splits"]
    targets = bars[["symbol", "ts_open"]].sort_values("ts_open")
    placed = pd.merge_asof(
        dated.sort_values("ts"),
        targets,
        left_on="ts",
        right_on="ts_open",
        by="symbol",
        direction="forward",
    ).dropna(subset="ts_open")
    placed = placed.astype({"ts_open": np.int64}).groupby(["symbol", "ts_open"])[columns].max()
    bare = bars.drop(columns=[c for c in columns if c in bars])
    joined = bare.merge(placed.reset_index(), on=["symbol", "ts_open"], how="left")
    return joined.fillna(dict.fromkeys(columns, 0.0))


def _rows(bars: pd.DataFrame, split: FloatArray, dividend: FloatArray) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "symbol": bars["symbol"].to_numpy(object),
            "ts": bars["ts_open"].to_numpy(np.int64),
            "split": split,
            "dividend": dividend,
        }
    )
    return frame[list(ACTION_COLUMNS)]


def _explicit(bars: pd.DataFrame, notes: Notes, label: str) -> tuple[pd.DataFrame, PriceBasis]:
    zero = np.zeros(len(bars))
    dividend = bars["dividends"].to_numpy(np.float64) if "dividends" in bars else zero
    split = bars["stock_splits"].to_numpy(np.float64) if "stock_splits" in bars else zero
    split = np.where(split == 0.0, 1.0, split)
    keep = (split != 1.0) | (dividend > 0)
    rows = _rows(bars[keep], split[keep], dividend[keep])
    _, fall = _changes(bars, bars["close"].to_numpy(np.float64))
    clear = (split >= SPLIT_AT_LEAST) | (split <= 0.8)
    raw = clear & (np.abs(-fall - np.log(split)) < RAW_MATCH)
    basis: PriceBasis
    if raw.sum() > 0.5 * clear.sum():
        basis, why = "unadjusted", "raw prices fall at splits"
    elif "adj_close" in bars:
        basis, why = "split_adjusted", "prices are smooth at splits or none was seen"
    else:
        basis, why = "adjusted", "prices are smooth at splits or none was seen"
    credited = "not credited again" if basis == "adjusted" else "credited"
    notes.add(f"prices taken as {basis} ({why}), dividends {credited}", label)
    return rows, basis


def _changes(bars: pd.DataFrame, values: FloatArray) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return, per row, whether the row before is of its symbol, and the log change since."""
    symbol = pd.factorize(bars["symbol"])[0]
    same = np.append(False, symbol[1:] == symbol[:-1])
    change = np.append(0.0, np.diff(np.log(values)))
    return same, np.where(same, change, 0.0)


def _from_adjusted(bars: pd.DataFrame, notes: Notes, label: str) -> pd.DataFrame:
    close = bars["close"].to_numpy(np.float64)
    adjusted = bars["adj_close"].to_numpy(np.float64)
    same, step = _changes(bars, adjusted / close)
    _, move = _changes(bars, close)
    noise = _rounding(close, adjusted)
    bound = noise + np.append(0.0, noise[:-1])
    changed = same & (np.abs(step) > bound)
    ratio = np.exp(step)
    large = (ratio >= SPLIT_AT_LEAST) | (ratio <= 0.8)
    real = ~large | (np.abs(move + step) < RAW_MATCH)
    nearest = np.ones(len(ratio))
    jumps = ratio[changed & large, None]
    nearest[changed & large] = _RATIOS[np.abs(jumps / _RATIOS - 1).argmin(axis=1)]
    is_split = changed & large & real & (np.abs(ratio / nearest - 1) < RATIO_MATCH + bound)
    is_dividend = changed & real & ~is_split & (ratio > 1)
    odd = int((changed & ~is_split & ~is_dividend).sum())
    if odd:
        notes.add("changes of adjustment that are no split or dividend, ignored", label, odd)
    before = np.append(1.0, close[:-1])
    split = np.where(is_split, nearest, 1.0)
    dividend = np.where(is_dividend, np.round(before * (1 - 1 / ratio), 6), 0.0)
    keep = is_split | is_dividend
    return _rows(bars[keep], split[keep], dividend[keep])


def _rounding(close: FloatArray, adjusted: FloatArray) -> FloatArray:
    """
    Return the largest relative error of adj/close that rounding to the printed decimals allows.

    Half a unit of the last place of either, with a tenth more for the arithmetic; prices
    printed to more than 6 decimals are single-precision floats, good to 1.2e-7 of themselves.
    """
    noise = np.full(len(close), 2.4e-7)
    for values in (close, adjusted):
        decimals = printed_decimals(values, 2, 7)
        if decimals < 7:
            noise = noise + 0.55 * 10.0**-decimals / values
    return noise
