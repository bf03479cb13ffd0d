"""
Reads news, fundamentals, macro series and sectors, with the stamps at which they became known.

Dates without a time become known at the opening of the next session; a 10-Q 45 days and a 10-K
90 days after its period's end unless a filing date is given. Macro values are the vendor's
latest vintage: revisions made later are in them, and nothing here can take them out.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd

from agents.arrays import FloatArray, IntArray
from agents.messages import FundamentalsReport, MacroValue, NewsItem
from backtest.market.sessions import DAY_NS, Sessions, stamp_text
from backtest.sources.files.cells import numbers, texts
from backtest.sources.files.columns import (
    CURRENT_ASSETS,
    CURRENT_LIABILITIES,
    FIGURE_SYNONYMS,
    normal,
    pick,
)
from backtest.sources.files.stamps import Stamps, stamps
from backtest.sources.findings import Notes
from config.errors import DataError

type Period = Literal["quarter", "annual"]

SERIES = 64  # characters of a series' id
FILING_DAYS: dict[Period, int] = {"quarter": 45, "annual": 90}

# series named as in `agents.features.ledgers.MACRO_SERIES` <- vendors' ids, in order of preference
MACRO_IDS: dict[str, tuple[str, ...]] = {
    "vix": ("vixcls", "vix"),
    "yield_short": ("dgs3mo", "dtb3", "tb3ms", "dgs2", "dff", "fedfunds"),
    "yield_long": ("dgs10", "gs10", "govtbond10", "dgs30"),
    "credit_spread": ("baa10y", "bamlh0a0hym2", "bamlc0a0cm"),
    "commodity": ("dcoilwtico", "wti", "dcoilbrenteu", "brent"),
    "risk_free": ("dgs3mo", "dtb3", "tb3ms", "dff", "fedfunds"),
}


def known_at(when: Stamps, calendar: Sessions) -> IntArray:
    """
    Return when each row became known: its stamp, or the next session's opening for a date.

    A midnight among stamps with a time of day is a date too: nobody publishes at that second, and
    vendors write it where they know the day alone.
    """
    dates = when.midnight | when.date_only
    return np.where(dates, calendar.next_open(when.days), when.ns)


def read_news(
    frame: pd.DataFrame,
    mapping: Mapping[str, str],
    when: Stamps,
    calendar: Sessions,
    symbol: str | None,
    origin: str,
    notes: Notes,
) -> list[NewsItem]:
    """
    Return a table's news; rows without text are left out and counted, midnights among times too.

    The source is the publisher, or `origin`; the id is the one given, or the start of the
    SHA-1 of symbol, stamp and text.
    """
    count = len(frame)

    def column(name: str, default: str) -> list[str]:
        return list(texts(frame[mapping[name]])) if name in mapping else [default] * count

    symbols = [symbol] * count if symbol is not None else column("symbol", "")
    rows = zip(
        symbols,
        when.ns.tolist(),
        known_at(when, calendar).tolist(),
        column("headline", ""),
        column("body", ""),
        column("publisher", origin),
        column("id", ""),
        strict=True,
    )
    items = []
    if not when.date_only and when.midnight.any():
        notes.add("news items at midnight taken as dates", origin, int(when.midnight.sum()))
    for name, event, init, headline, body, publisher, given in rows:
        if not headline:
            notes.add("news items without a headline left out", origin, 1)
        else:
            text = f"{name}\0{event}\0{headline}\0{body}".encode()
            items.append(
                NewsItem(
                    symbol=name,
                    ts_event=event,
                    ts_init=init,
                    source=publisher or origin,
                    item_id=given or hashlib.sha1(text, usedforsecurity=False).hexdigest()[:16],
                    headline=headline,
                    body=body,
                )
            )
    return items


def read_fundamentals(
    frame: pd.DataFrame,
    mapping: Mapping[str, str],
    when: Stamps,
    calendar: Sessions,
    period: Period | None,
    timezone: str | None,
    label: str,
) -> list[FundamentalsReport]:
    """
    Return a table's reports, wide (a column a figure) or long (a row a figure).

    The period is the one stated, or that of the column `period`, or annual where a symbol's
    period ends mostly lie 300 days or more apart (or there is only one).
    """
    symbols = texts(frame[mapping["symbol"]])
    keys = pd.DataFrame({"symbol": symbols, "ns": when.days * DAY_NS})
    if "filed" in mapping:
        filed = stamps(frame[mapping["filed"]], label, timezone)
        keys["filed"] = known_at(filed, calendar)
    if "period" in mapping:
        keys["period"] = [_period(t, label) for t in texts(frame[mapping["period"]])]
    if "item" in mapping and "value" in mapping:
        names = np.array([normal(t) for t in texts(frame[mapping["item"]])], dtype=object)
        values = numbers(frame[mapping["value"]], label)
        order = keys.assign(name=names, value=values).dropna(subset="value")
        groups = {
            key: _figures(dict(zip(g["name"], g["value"], strict=True)))
            for key, g in order.groupby([*keys.columns], sort=True)
        }
    else:
        wanted = {n for names in FIGURE_SYNONYMS.values() for n in names}
        wanted |= {*CURRENT_ASSETS, *CURRENT_LIABILITIES}
        columns = {n: c for n in sorted(wanted) if (c := pick(list(frame.columns), [n]))}
        columns |= {f: mapping[f] for f in FIGURE_SYNONYMS if f in mapping}
        table = {n: numbers(frame[c], label) for n, c in columns.items()}
        groups = {}
        for i, key in enumerate(keys.itertuples(index=False, name=None)):
            found = {n: float(v[i]) for n, v in table.items() if np.isfinite(v[i])}
            groups[key] = _figures(found)
    inferred = period or _infer_period(keys)
    reports = []
    for key, figures in groups.items():
        fields: dict[str, Any] = {str(k): v for k, v in zip(keys.columns, key, strict=True)}
        if not figures:
            continue
        kind: Period = fields.get("period") or inferred
        event = int(fields["ns"])
        known = int(fields.get("filed", event + FILING_DAYS[kind] * DAY_NS))
        if known < event:
            raise DataError(
                f"{label}: expected a filing after the period's end for {fields['symbol']}, "
                f"was {np.datetime64(known, 'ns')} for {np.datetime64(event, 'ns')}"
            )
        reports.append(
            FundamentalsReport(
                symbol=fields["symbol"],
                ts_event=event,
                ts_init=known,
                period=kind,
                figures=figures,
            )
        )
    return reports


def _figures(found: Mapping[str, float]) -> dict[str, float]:
    figures = {}
    for figure, names in FIGURE_SYNONYMS.items():
        value = next((found[n] for n in (figure, *names) if n in found), None)
        if value is not None and np.isfinite(value):
            figures[figure] = float(value)
    over = next((found[n] for n in CURRENT_ASSETS if n in found), None)
    under = next((found[n] for n in CURRENT_LIABILITIES if n in found), None)
    if over is not None and under is not None:
        # a vendor's own ratio may be in percent: ours is from the amounts
        figures.pop("current_ratio", None)
        if over > 0 and under > 0:
            figures["current_ratio"] = float(over / under)
    return figures


def _period(text: str, label: str) -> Period:
    low = text.lower()
    if low in ("quarter", "quarterly", "q", "10-q", "10q", "q1", "q2", "q3", "q4"):
        return "quarter"
    if low in ("annual", "year", "yearly", "fy", "10-k", "10k"):
        return "annual"
    raise DataError(f"{label}: expected quarter or annual (10-Q, 10-K), was {text!r}")


def _infer_period(keys: pd.DataFrame) -> Period:
    ends = keys[["symbol", "ns"]].drop_duplicates().sort_values(["symbol", "ns"])
    apart = ends.groupby("symbol")["ns"].diff().dropna()
    return "quarter" if len(apart) and apart.median() < 300 * DAY_NS else "annual"


def read_macro(
    names: list[str], when: Stamps, values: FloatArray, calendar: Sessions, label: str
) -> list[tuple[str, MacroValue]]:
    """
    Return (vendor's id, value) of a table's macro series, under the ids in lower case.

    A daily value is known at the opening of the next session after its date. A series whose
    values mostly lie more than four days apart is dated at its period's start and published
    after its end: known at the first opening after one and a half such distances.
    Raises DataError for duplicate dates.
    """
    frame = pd.DataFrame({"id": names, "ns": when.ns, "value": values}).dropna()
    frame = frame.sort_values(["id", "ns"], kind="stable", ignore_index=True)
    out: list[tuple[str, MacroValue]] = []
    for name, group in frame.groupby("id", sort=True):
        if len(str(name)) > SERIES or not str(name).isprintable():
            raise DataError(
                f"{label}: expected series of at most {SERIES} printable characters, was {name!r}"
            )
        ns = group["ns"].to_numpy(np.int64)
        twice = np.flatnonzero(np.diff(ns) == 0)
        if twice.size:
            raise DataError(
                f"{label}: expected one value a date for {name}, "
                f"was a duplicate at {stamp_text(ns[twice[0]])}"
            )
        apart = int(np.median(np.diff(ns))) if len(ns) > 1 else 0
        lag = apart * 3 // 2 if apart > 4 * DAY_NS else 0
        delayed = Stamps(ns + lag, (ns + lag) // DAY_NS, when.date_only, (ns + lag) % DAY_NS == 0)
        known = known_at(delayed, calendar)
        low = str(name).strip().lower()
        out += [
            (low, MacroValue(series=low, ts_event=e, ts_init=k, value=v))
            for e, k, v in zip(ns.tolist(), known.tolist(), group["value"].tolist(), strict=True)
        ]
    return out


def name_macro(found: list[tuple[str, str, MacroValue]]) -> tuple[list[MacroValue], list[str]]:
    """
    Return the series under our names, each from one origin, and notes of what was set aside.

    `found` has (id, file, value). Of several origins of one series the one first in MACRO_IDS
    is taken, then the first file by name. Ids without a name of ours keep their own.
    """
    origins: dict[tuple[str, str], list[MacroValue]] = {}
    for low, file, value in found:
        origins.setdefault((low, file), []).append(value)
    first: dict[str, tuple[str, str]] = {}
    for key in sorted(origins):
        first.setdefault(key[0], key)
    out: list[MacroValue] = []
    used = set()
    notes = []
    for series, ids in MACRO_IDS.items():
        chosen = next((i for i in (series, *ids) if i in first), None)
        if chosen is not None:
            used.add(chosen)
            out += [msgspec.structs.replace(v, series=series) for v in origins[first[chosen]]]
            if chosen != series:
                notes.append(f"macro series {series} taken from {chosen}")
    for low, key in first.items():
        if low not in used:
            out += origins[key]
    return out, notes
