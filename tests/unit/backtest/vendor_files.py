"""One truth of bars, and writers that print it as vendors do: for the readers' tests."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import format_datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from backtest.market.sessions import load_sessions
from backtest.sources.files.forms import EST, METATRADER

HOUR = 3_600_000_000_000


@dataclass(frozen=True)
class Truth:
    """Bars of one symbol: `at` are openings in UTC, or days where `daily`."""

    at: pd.DatetimeIndex
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    daily: bool

    def frame(self) -> pd.DataFrame:
        """Return the bars as a table with plain columns."""
        return pd.DataFrame(
            {c: getattr(self, c) for c in ("open", "high", "low", "close", "volume")}
        )


def _walk(at: pd.DatetimeIndex, price: float, decimals: int, daily: bool, seed: int) -> Truth:
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.004, len(at))))
    first = np.concatenate([[price], close[:-1]]) * np.exp(rng.normal(0, 0.0005, len(at)))
    spread = np.abs(rng.normal(0, 0.002, (2, len(at)))) + 0.001
    high = np.maximum(first, close) * (1 + spread[0])
    low = np.minimum(first, close) * (1 - spread[1])
    volume = np.round(rng.uniform(10_000, 900_000, len(at)))
    prices = (np.round(v, decimals) for v in (first, high, low, close))
    return Truth(at, *prices, volume, daily)


def stock(decimals: int = 2, seed: int = 1) -> Truth:
    """Return 70 sessions of New York, an early one and a change of the clock among them."""
    days = load_sessions("XNYS", 2023, 2024).days
    first = int(np.datetime64("2023-10-02").astype(int))
    at = pd.DatetimeIndex(days[days >= first][:70].astype("M8[D]").astype("M8[ns]"))
    return _walk(at, 150.0, decimals, True, seed)


def foreign(calendar: str, price: float = 2400.0) -> Truth:
    """Return 70 sessions of another exchange."""
    days = load_sessions(calendar, 2023, 2024).days
    first = int(np.datetime64("2023-10-02").astype(int))
    at = pd.DatetimeIndex(days[days >= first][:70].astype("M8[D]").astype("M8[ns]"))
    return _walk(at, price, 2, True, 5)


def stock_hours() -> Truth:
    """Return bars of 30 minutes in the sessions of New York over a change of its clock."""
    sessions = load_sessions("XNYS", 2023, 2023)
    days = sessions.days
    first = int(np.datetime64("2023-10-23").astype(int))
    at: list[int] = []
    for i in np.flatnonzero(days >= first)[:25]:
        at += range(int(sessions.opens[i]), int(sessions.closes[i]), HOUR // 2)
    return _walk(pd.DatetimeIndex(np.array(at, "M8[ns]")), 150.0, 2, False, 2)


def fx_hours() -> Truth:
    """Return hours of EURUSD as it trades: from Sunday 17:00 to Friday 17:00 in New York."""
    every = pd.date_range("2023-10-16", "2023-12-04", freq="h", tz="UTC")
    clock = every.tz_convert("America/New_York")
    opened = (clock.day_of_week < 4) | ((clock.day_of_week == 4) & (clock.hour < 17))
    opened |= (clock.day_of_week == 6) & (clock.hour >= 17)
    return _walk(every[opened].tz_localize(None), 1.08, 5, False, 3)


def coin(daily: bool = True, price: float = 41_000.0, decimals: int = 2) -> Truth:
    """Return days, or hours, of a coin, weekends included."""
    at = pd.date_range("2023-10-01", periods=90, freq="D" if daily else "h")
    return _walk(at, price, decimals, daily, 4)


@dataclass(frozen=True)
class Form:
    """A vendor's form: what it prints, and how exact: `volume` is the relative step of volumes."""

    name: str
    truth: Callable[[], Truth]
    write: Callable[[Path, Truth], object]
    symbol: str
    decimals: int = 2
    volume: float | None = 0.0  # None: the form has no volumes
    source: str = ""  # a source.yaml


def _csv(name: str, **columns: object) -> Callable[[Path, Truth], object]:
    """Return a writer of one CSV; a column is a field's name or a function of the truth."""
    options = columns.pop("options", {})
    names = columns.pop("names", {})

    def write(folder: Path, truth: Truth) -> None:
        frame = truth.frame()
        out = {}
        for key, what in columns.items():
            out[names.get(key, key)] = what(truth) if callable(what) else frame[what]
        table = pd.DataFrame(out)
        reverse = options.get("reverse")
        kept = {k: v for k, v in options.items() if k not in ("reverse", "above")}
        if reverse:
            table = table.iloc[::-1]
        text = table.to_csv(index=False, **kept)
        (folder / name).write_text(options.get("above", "") + text, encoding="utf-8")

    return write


def _dates(pattern: str, zone: str | None = None) -> Callable[[Truth], list[str]]:
    def make(truth: Truth) -> list[str]:
        at = truth.at if zone is None else _in_zone(truth.at, zone)
        return [t.strftime(pattern) for t in at]

    return make


def _in_zone(at: pd.DatetimeIndex, zone: str) -> pd.DatetimeIndex:
    if zone == METATRADER:
        local = at.tz_localize("UTC").tz_convert("America/New_York").tz_localize(None)
        return local + pd.Timedelta(hours=7)
    return at.tz_localize("UTC").tz_convert(zone)


def _unix(per_second: int) -> Callable[[Truth], list[int]]:
    return lambda t: [int(v) * per_second // 1_000_000_000 for v in t.at.as_unit("ns").asi8]


_OHLCV = {c: c for c in ("open", "high", "low", "close", "volume")}
_CAPITAL = {c.capitalize(): c for c in ("open", "high", "low", "close", "volume")}


def _yfinance(folder: Path, truth: Truth) -> None:
    rows = ["Price,Adj Close,Close,High,Low,Open,Volume", "Ticker" + ",SPY" * 6, "Date,,,,,,"]
    for t, r in zip(truth.at, truth.frame().itertuples(), strict=True):
        rows.append(f"{t:%Y-%m-%d},{r.close},{r.close},{r.high},{r.low},{r.open},{r.volume:.0f}")
    (folder / "prices.csv").write_text("\n".join(rows) + "\n")


def _yfinance_grouped(folder: Path, truth: Truth) -> None:
    """Print two tickers, grouped by ticker, the second of them of other prices."""
    rows = ["Ticker,SPY,SPY,SPY,SPY,SPY,QQQ,QQQ,QQQ,QQQ,QQQ"]
    rows += ["Price" + ",Open,High,Low,Close,Volume" * 2, "Date" + "," * 10]
    for t, r in zip(truth.at, truth.frame().itertuples(), strict=True):
        one = f"{r.open},{r.high},{r.low},{r.close},{r.volume:.0f}"
        rows.append(f"{t:%Y-%m-%d},{one},1,1,1,1,5")
    (folder / "both.csv").write_text("\n".join(rows) + "\n")


def _klines(name: str, per_second: int, split: bool = False) -> Callable[[Path, Truth], None]:
    def write(folder: Path, truth: Truth) -> None:
        at = _unix(per_second)(truth)
        step = at[1] - at[0]
        lines = [
            f"{a},{r.open},{r.high},{r.low},{r.close},{r.volume},{a + step - 1},1.5,7,2.5,3.5,0"
            for a, r in zip(at, truth.frame().itertuples(), strict=True)
        ]
        if not split:
            (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
            return
        months = sorted({t.strftime("%Y-%m") for t in truth.at})
        for month in months:
            own = [x for x, t in zip(lines, truth.at, strict=True) if t.strftime("%Y-%m") == month]
            (folder / f"{name}-{month}.csv").write_text("\n".join(own) + "\n")

    return write


def _headerless(name: str, time: Callable[[Truth], list], sep: str = ",", after: str = ""):
    def write(folder: Path, truth: Truth) -> None:
        lines = [
            sep.join(
                [str(t), str(r.open), str(r.high), str(r.low), str(r.close), f"{r.volume:.0f}"]
            )
            + after
            for t, r in zip(time(truth), truth.frame().itertuples(), strict=True)
        ]
        (folder / name).write_text("\n".join(lines) + "\n")

    return write


def _investing(folder: Path, truth: Truth) -> None:
    rows = ['"Date","Price","Open","High","Low","Vol.","Change %"']
    for t, r in reversed(list(zip(truth.at, truth.frame().itertuples(), strict=True))):
        cells = [f"{t:%b %d, %Y}", *(f"{v:,.2f}" for v in (r.close, r.open, r.high, r.low))]
        rows.append(",".join(f'"{c}"' for c in [*cells, f"{r.volume / 1e3:.2f}K", "-0.12%"]))
    (folder / "ACME Historical Data.csv").write_text("\ufeff" + "\n".join(rows), encoding="utf-8")


def _feather(folder: Path, truth: Truth) -> None:
    truth.frame().assign(date=truth.at).to_feather(folder / "ACME.feather")


def _parquet(folder: Path, truth: Truth) -> None:
    frame = truth.frame().rename(columns=str.capitalize)
    frame.index = truth.at.tz_localize("America/New_York").rename("Date")
    frame.to_parquet(folder / "ACME.parquet")


def _json_lines(folder: Path, truth: Truth) -> None:
    rows = truth.frame().assign(date=[f"{t:%Y-%m-%d}" for t in truth.at], ticker="ACME")
    lines = [json.dumps(r) for r in rows.to_dict(orient="records")]
    (folder / "all.jsonl").write_text("\n".join(lines))


def _polygon(folder: Path, truth: Truth) -> None:
    rows = [
        {"v": r.volume, "o": r.open, "c": r.close, "h": r.high, "l": r.low, "t": t, "n": 5}
        for t, r in zip(_unix(1_000)(truth), truth.frame().itertuples(), strict=True)
    ]
    (folder / "ACME.json").write_text(json.dumps({"ticker": "ACME", "results": rows}))


def _european(folder: Path, truth: Truth) -> None:
    frame = truth.frame().rename(columns=str.capitalize)
    frame.insert(0, "Date", [f"{t:%d.%m.%Y}" for t in truth.at])
    frame.to_csv(folder / "ACME.csv", sep=";", decimal=",", index=False)


def _utf16(folder: Path, truth: Truth) -> None:
    frame = truth.frame().assign(date=[f"{t:%m/%d/%Y}" for t in truth.at])
    (folder / "ACME.txt").write_text(frame.to_csv(index=False, sep="\t"), encoding="utf-16")


def _headed_with_a_delimiter_more(folder: Path, truth: Truth) -> None:
    rows = [
        f"{t:%Y-%m-%d},{r.open},{r.high},{r.low},{r.close},{r.volume},"
        for t, r in zip(truth.at, truth.frame().itertuples(), strict=True)
    ]
    (folder / "ACME.csv").write_text("\n".join(["date,open,high,low,close,volume", *rows]))


FORMS = (
    Form(
        "one file a ticker", stock, _csv("BRK.B.csv", date=_dates("%Y-%m-%d"), **_OHLCV), "BRK.B"
    ),
    Form("yfinance, three header rows", stock, _yfinance, "SPY"),
    Form("yfinance, by ticker", stock, _yfinance_grouped, "SPY"),
    Form(
        "yfinance, midnights with an offset",
        stock,
        _csv(
            "ACME.csv", Date=lambda t: [f"{x:%Y-%m-%d} 00:00:00-04:00" for x in t.at], **_CAPITAL
        ),
        "ACME",
    ),
    Form(
        "Stooq's site", stock, _csv("acme.us.csv", Date=_dates("%Y-%m-%d"), **_CAPITAL), "ACME.US"
    ),
    Form(
        "Stooq's archive",
        stock,
        _csv(
            "acme.us.txt",
            **{"<TICKER>": lambda t: "ACME.US", "<PER>": lambda t: "D"},
            **{"<DATE>": _dates("%Y%m%d"), "<TIME>": lambda t: "000000"},
            **{f"<{k[:3].upper() if k == 'volume' else k.upper()}>": k for k in _OHLCV},
            **{"<OPENINT>": lambda t: 0},
        ),
        "ACME.US",
    ),
    Form(
        "Alpha Vantage, newest first",
        stock,
        _csv("daily_ACME.csv", timestamp=_dates("%Y-%m-%d"), **_OHLCV, options={"reverse": True}),
        "ACME",
    ),
    Form(
        "Binance's klines in ms",
        lambda: coin(False),
        _klines("BTCUSDT-1h-2023-10", 1_000),
        "BTCUSDT",
    ),
    Form("Binance's klines in us", coin, _klines("BTCUSDT-1d-2025-01", 1_000_000), "BTCUSDT"),
    Form("Binance's klines by month", coin, _klines("BTCUSDT-1d", 1_000, split=True), "BTCUSDT"),
    Form(
        "Kraken",
        lambda: coin(False),
        _headerless("XBTUSD_60.csv", _unix(1), after=",17"),
        "XBTUSD",
    ),
    Form(
        "TradingView, hours",
        fx_hours,
        _csv("FX_EURUSD, 60.csv", time=_unix(1), **_OHLCV),
        "EURUSD",
        decimals=5,
    ),
    Form(
        "TradingView, days stamped at the opening",
        stock,
        _csv(
            "NASDAQ_ACME, 1D.csv",
            time=lambda t: [
                int(pd.Timestamp(f"{x:%Y-%m-%d} 09:30", tz="America/New_York").timestamp())
                for x in t.at
            ],
            **_OHLCV,
        ),
        "ACME",
    ),
    Form(
        "MetaTrader 5",
        fx_hours,
        _csv(
            "EURUSD_H1_202310150000_202312042300.csv",
            **{"<DATE>": _dates("%Y.%m.%d", METATRADER), "<TIME>": _dates("%H:%M:%S", METATRADER)},
            **{f"<{k.upper()}>": k for k in _OHLCV if k != "volume"},
            **{"<TICKVOL>": "volume", "<VOL>": lambda t: 0, "<SPREAD>": lambda t: 8},
            options={"sep": "\t"},
        ),
        "EURUSD",
        decimals=5,
    ),
    Form(
        "MetaTrader 4",
        fx_hours,
        _headerless("EURUSD60.csv", _dates("%Y.%m.%d,%H:%M", METATRADER)),
        "EURUSD",
        decimals=5,
    ),
    Form(
        "HistData",
        fx_hours,
        _headerless("DAT_ASCII_EURUSD_M1_2023.csv", _dates("%Y%m%d %H%M%S", EST), sep=";"),
        "EURUSD",
        decimals=5,
    ),
    Form(
        "Dukascopy",
        fx_hours,
        _csv(
            "EURUSD_Candlestick_1_Hour_BID_16.10.2023-04.12.2023.csv",
            **{"Gmt time": _dates("%d.%m.%Y %H:%M:%S.000")},
            **_CAPITAL,
        ),
        "EURUSD",
        decimals=5,
    ),
    Form("investing.com", stock, _investing, "ACME", volume=0.001),
    Form(
        "CryptoDataDownload",
        coin,
        _csv(
            "Binance_BTCUSDT_d.csv",
            Unix=_unix(1_000),
            Date=_dates("%Y-%m-%d"),
            Symbol=lambda t: "BTCUSDT",
            **{k.capitalize(): k for k in _OHLCV if k != "volume"},
            **{"Volume BTC": "volume", "Volume USDT": lambda t: t.volume * 40_000},
            tradecount=lambda t: 12,
            options={"above": "https://www.CryptoDataDownload.com\n", "reverse": True},
        ),
        "BTCUSDT",
    ),
    Form(
        "CryptoDataDownload, as it was before",
        lambda: coin(False),
        _csv(
            "Coinbase_BTCUSD_1h.csv",
            date=_dates("%Y-%m-%d %I-%p"),
            symbol=lambda t: "BTCUSD",
            **{k: k for k in _OHLCV if k != "volume"},
            volume_btc="volume",
            volume=lambda t: t.volume * 40_000,
            options={
                "above": "Created on 10-17-2019,https://www.CryptoDataDownload.com\n",
                "reverse": True,
            },
        ),
        "BTCUSD",
    ),
    Form(
        "a column for each field of each ticker",
        stock,
        _csv("wide.csv", Date=_dates("%Y-%m-%d"), **{f"ACME_{k}": k for k in _OHLCV}),
        "ACME",
    ),
    Form(
        "rows that end with a delimiter",
        stock,
        _headed_with_a_delimiter_more,
        "ACME",
    ),
    Form(
        "Kaggle's S&P 500",
        stock,
        _csv("all_stocks_5yr.csv", date=_dates("%Y-%m-%d"), **_OHLCV, Name=lambda t: "ACME"),
        "ACME",
    ),
    Form(
        "NSE",
        lambda: foreign("XBOM"),
        _csv(
            "Quote-Equity-RELIANCE-EQ-02-10-2023-to-12-01-2024.csv",
            **{"Date ": _dates("%d-%b-%Y"), "series ": lambda t: "EQ"},
            **{f"{k.upper()} ": k for k in ("open", "high", "low")},
            **{"PREV. CLOSE ": "close", "ltp ": "close", "close ": "close", "vwap ": "close"},
            **{"VOLUME ": "volume", "VALUE ": "volume", "No of trades ": lambda t: 3},
            options={"reverse": True},
        ),
        "RELIANCE.NS",
    ),
    Form(
        "Nasdaq.com",
        stock,
        _csv(
            "ACME.csv",
            Date=_dates("%m/%d/%Y"),
            **{"Close/Last": lambda t: [f"${v}" for v in t.close], "Volume": "volume"},
            **{
                k: (lambda c: lambda t: [f"${v}" for v in getattr(t, c)])(k.lower())
                for k in ("Open", "High", "Low")
            },
            options={"reverse": True},
        ),
        "ACME",
    ),
    Form("Feather", stock, _feather, "ACME"),
    Form("Parquet with dates as its index", stock, _parquet, "ACME"),
    Form("JSON lines", stock, _json_lines, "ACME"),
    Form("Polygon's answer", lambda: coin(False), _polygon, "ACME", source="calendar: 24/7\n"),
    Form("semicolons and decimal commas", stock, _european, "ACME"),
    Form("UTF-16 text with tabs", stock, _utf16, "ACME"),
    Form(
        "Interactive Brokers, zone in words",
        stock_hours,
        _csv("ACME.csv", date=_dates("%Y%m%d %H:%M:%S US/Eastern", "US/Eastern"), **_OHLCV),
        "ACME",
    ),
    Form(
        "FirstRate, local time stated",
        stock_hours,
        _headerless("ACME_full_30min_UNADJ.txt", _dates("%Y-%m-%d %H:%M:%S", "America/New_York")),
        "ACME",
        source="timezone: America/New_York\n",
    ),
    Form(
        "a date and a time of day apart",
        stock_hours,
        _csv("ACME.csv", Date=_dates("%m/%d/%Y"), Time=_dates("%H:%M"), **_CAPITAL),
        "ACME",
    ),
    Form(
        "stamps at the bars' ends",
        stock_hours,
        _csv(
            "ACME.csv",
            datetime=lambda t: [
                f"{x:%Y-%m-%d %H:%M}"
                for x in _in_zone(t.at + pd.Timedelta(minutes=30), "US/Eastern")
            ],
            **_OHLCV,
        ),
        "ACME",
        source="timezone: America/New_York\n",
    ),
    Form(
        "RFC 2822",
        stock_hours,
        _csv(
            "ACME.csv",
            date=lambda t: [
                format_datetime(
                    x.to_pydatetime().replace(tzinfo=dt.UTC).astimezone(ZoneInfo("US/Eastern"))
                )
                for x in t.at
            ],
            **_OHLCV,
        ),
        "ACME",
    ),
    Form(
        "Yahoo's site",
        stock,
        _csv("^GSPC.csv", Date=_dates("%Y-%m-%d"), **_CAPITAL, **{"Adj Close": "close"}),
        "^GSPC",
    ),
    Form(
        "Tiingo",
        stock,
        _csv(
            "acme.csv",
            date=_dates("%Y-%m-%dT00:00:00.000Z"),
            **_OHLCV,
            adjClose="close",
            divCash=lambda t: 0.0,
            splitFactor=lambda t: 1.0,
        ),
        "ACME",
    ),
    Form(
        "Finam",
        stock,
        _csv(
            "ACME_230901_231231.txt",
            **{"<TICKER>": lambda t: "ACME", "<PER>": lambda t: "D"},
            **{"<DATE>": _dates("%Y%m%d"), "<TIME>": lambda t: "000000"},
            **{f"<{k[:3].upper() if k == 'volume' else k.upper()}>": k for k in _OHLCV},
            options={"sep": ";"},
        ),
        "ACME",
    ),
    Form(
        "Kibot, local time stated",
        stock_hours,
        _headerless("ACME.txt", _dates("%m/%d/%Y,%H:%M", "America/New_York")),
        "ACME",
        source="files: {'*.txt': {timezone: America/New_York}}\n",
    ),
    Form(
        "dukascopy-node",
        fx_hours,
        _csv("eurusd-h1-bid-2023-10-16-2023-12-04.csv", timestamp=_unix(1_000), **_OHLCV),
        "EURUSD",
        decimals=5,
    ),
    Form(
        "an hour of twelve",
        lambda: coin(False),
        _csv(
            "Gemini_BTCUSD_1h.csv",
            Date=_dates("%Y-%m-%d %I-%p"),
            Symbol=lambda t: "BTCUSD",
            **_OHLCV,
        ),
        "BTCUSD",
    ),
)
