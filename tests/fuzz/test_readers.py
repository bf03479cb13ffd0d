"""
Hostile and broken files: a reader gives a sound market or one line, never a traceback.

Files are vendors' forms (`tests.unit.backtest.vendor_files`) whose bytes, cells, lines and
source.yaml were tampered with, and texts that were no files of bars at all.
"""

import datetime as dt
import decimal
import json
import math
import random
import signal
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtest.market.market_data import MarketData
from backtest.sources.files.names import is_symbol
from backtest.sources.findings import Findings
from backtest.sources.folder import read_sources
from config.errors import ConfigError
from tests.unit.backtest.vendor_files import FORMS, Truth

TAMPERED, TYPED = 16_000, 4_000
ROWS = 14  # of each file that is tampered with
SECONDS = 10

HOSTILE = (
    *("", " ", "nan", "NaN", "inf", "-inf", "1e999", "-1", "0", "1e308", "1e-320", "0.0", "-0"),
    *("1,234.5", "1.234,5", "12%", "$5", "287.86K", "1e5", "0x10", "1_000", "٣", "½", "null", "."),
    *("1677-01-01", "2263-01-01", "0000-00-00", "9999-12-31", "1969-12-31", "2023-02-30", "24:00"),
    *("2023-13-01", "2023-10-02T00:00:00+99:99", "2023-10-02 25:00", "99999999999999999999", "-5"),
    *(
        "../x",
        "..",
        "a\x00b",
        "a\nb",
        "a\rb",
        "<|im_end|>",
        "=cmd|' /C calc'!A0",
        "<script>",
        "\u202e",
    ),
    *("'; DROP TABLE runs; --", "{{7*7}}", "%s%n", "AAPL\u200b", "a" * 40, "a" * 5_000, "\ufeff"),
    *(
        '"',
        '""',
        "'",
        '"unclosed',
        "\\",
        ",",
        ";",
        "\t",
        "|",
        "true",
        "None",
        "[1]",
        "{}",
        "^",
        "-",
    ),
)
SOURCES = (
    *("calendar: 24/7", "calendar: 24x5", "calendar: XLON", "calendar: NOPE", "calendar: 5"),
    *("asset_class: forex", "asset_class: index", "asset_class: 7", "timezone: Mars/Base", "a: b"),
    *(
        "timezone: America/New_York+7",
        "timezone: +99",
        "stamp: close",
        "stamp: x",
        "non_sessions: drop",
    ),
    *("price_basis: adjusted", "files: {'*': {symbol: stem}}", "files: {'*': {symbol: ../x}}"),
    *(
        "files: {'*': {symbol: folder}}",
        "files: {'*': {kind: news}}",
        "files: {'*': {kind: macro}}",
    ),
    *("files: {'*': {columns: {close: Open}}}", "files: {'*': {date_format: '%Q'}}", "[]", "- 1"),
    *(
        "files: {'*': {date_format: '%d/%m/%Y'}}",
        "files: {'[': {symbol: A}}",
        "files: 3",
        "{",
        "\x00",
    ),
    *("instruments: {ACME: {lot_size: .inf}}", "instruments: {ACME: {cost_bps: .nan}}", "&a [*a]"),
    *("instruments: {ACME: {precision: 99}}", "instruments: {ACME: {currency: ZZZ}}", "!!float x"),
    *("instruments: {ACME: {asset_class: forex}}", "x: " + "[" * 3_000, "x: " + "9" * 6_000),
)


def _cut(truth: Truth) -> Truth:
    columns = ("at", "open", "high", "low", "close", "volume")
    return Truth(*(getattr(truth, c)[:ROWS] for c in columns), truth.daily)


def _templates() -> list[tuple[str, bytes, str]]:
    """Return (name, bytes, source.yaml) of each file that the forms write."""
    found = []
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            form.write(Path(folder), _cut(form.truth()))
            found += [
                (p.name, p.read_bytes(), form.source) for p in sorted(Path(folder).iterdir())
            ]
    news = b"date,ticker,title,text\n2023-10-03 10:00,ACME,Up,More\n2023-10-04,ACME,Down,Less\n"
    found.append(("news.csv", news, ""))
    found.append(("DGS10.csv", b"observation_date,DGS10\n2023-10-02,4.69\n2023-10-03,.\n", ""))
    found.append(("sectors.csv", b"symbol,sector\nACME,Energy\nBBB,\n", ""))
    figures = b"symbol,period_end,form,revenue,net_income\nACME,2023-06-30,10-Q,5,1\n"
    found.append(("figures.csv", figures, ""))
    return found


TEMPLATES = _templates()
PLAIN = b"date,symbol,open,high,low,close,volume\n" + b"".join(
    b"2023-10-%02d,ACME,10,11,9,10.5,1000\n" % day for day in (2, 3, 4, 5, 6, 9, 10, 11)
)


def _tamper(content: bytes, rng: random.Random) -> bytes:
    """Return a file's bytes with a few things changed."""
    for _ in range(rng.randint(0, 2)):
        kind = rng.randrange(9)
        if kind == 0 and content:  # flip bytes
            changed = bytearray(content)
            for _ in range(rng.randint(1, 6)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            content = bytes(changed)
        elif kind == 1:  # cut
            content = content[: rng.randint(0, len(content))]
        elif kind == 2:  # shuffle, repeat or drop lines
            lines = content.split(b"\n")
            rng.choice((rng.shuffle, lambda x: x.extend(x[-3:]), lambda x: x.pop(0)))(lines)
            content = b"\n".join(lines)
        elif kind == 3:  # another delimiter
            content = content.replace(*rng.choice(((b",", b";"), (b",", b"\t"), (b"\n", b"\r\n"))))
        elif kind == 4:  # more of it
            content = (
                rng.choice((b"\xff\xfe", b"\xef\xbb\xbf", b"# a\n", b"\n\n", b"\x00")) + content
            )
        else:  # hostile cells
            lines = content.split(b"\n")
            at = rng.randrange(len(lines))
            cells = lines[at].split(b",")
            cells[rng.randrange(len(cells))] = rng.choice(HOSTILE).encode()
            if rng.random() < 0.2:  # a whole column
                place, text = rng.randrange(len(cells)), rng.choice(HOSTILE).encode()
                lines = [*lines[:1], *(_with(line, place, text) for line in lines[1:])]
            else:
                lines[at] = b",".join(cells)
            content = b"\n".join(lines)
    return content


def _with(line: bytes, place: int, text: bytes) -> bytes:
    cells = line.split(b",")
    if place < len(cells):
        cells[place] = text
    return b",".join(cells)


def _sound(market: MarketData) -> None:
    """Assert that nothing in a market is other than a run may see."""
    bars = market.bars
    numbers = bars[["open", "high", "low", "close", "volume"]].to_numpy()
    assert np.isfinite(numbers).all()
    assert (numbers[:, :4] > 0).all()
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars["ts_open"] < bars["ts_close"]).all()
    assert all(is_symbol(i.symbol) for i in market.instruments)
    assert all(np.isfinite([i.lot_size, i.cost_bps or 0.0]).all() for i in market.instruments)
    assert all(np.isfinite(m.value) for m in market.macro)
    assert all(np.isfinite(list(f.figures.values())).all() for f in market.fundamentals)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"a reader took more than {SECONDS} seconds")


def _typed_column(rng: random.Random, rows: int) -> list[object]:
    """Return a column of one odd type, or of several."""
    makers = (
        lambda: rng.randint(-(2**63), 2**63 - 1),
        lambda: rng.choice((0.0, -0.0, math.nan, math.inf, 1e300, 5e-324, 10.5)),
        lambda: decimal.Decimal(rng.choice(("10.50", "NaN", "1e30", "-3"))),
        lambda: rng.choice((True, False, None)),
        lambda: dt.date(rng.choice((1, 1700, 2023, 9999)), 10, rng.randint(1, 28)),
        lambda: dt.datetime(2023, 10, rng.randint(1, 28), tzinfo=rng.choice((None, dt.UTC))),
        lambda: rng.choice(HOSTILE),
        lambda: [rng.random()],
        lambda: {"a": rng.random()},
        lambda: rng.choice(HOSTILE).encode(),
        lambda: 10**400,
        lambda: 1_696_204_800 * rng.choice((1, 1_000, 1_000_000, 10**9)) + rng.randint(0, 9),
    )
    maker = rng.choice(makers)
    if rng.random() < 0.2:
        return [rng.choice(makers)() for _ in range(rows)]
    return [maker() for _ in range(rows)]


def _write_typed(folder: Path, rng: random.Random) -> None:
    """Write a typed table of bars of which a few columns are other than they should be."""
    truth = _cut(FORMS[0].truth())
    frame = truth.frame().assign(date=truth.at, symbol="ACME")
    for name in rng.sample(list(frame.columns), rng.randint(1, 3)):
        frame[name] = _typed_column(rng, len(frame))
    if rng.random() < 0.3:
        frame = frame.set_index(rng.choice(list(frame.columns)))
    kind = rng.choice(("parquet", "feather", "json", "jsonl"))
    try:
        if kind == "parquet":
            frame.to_parquet(folder / "ACME.parquet")
        elif kind == "feather":
            frame.reset_index().to_feather(folder / "ACME.feather")
        else:
            records = frame.reset_index().to_dict(orient="records")
            text = [json.dumps(record, default=str) for record in records]
            whole = "\n".join(text) if kind == "jsonl" else f"[{','.join(text)}]"
            (folder / f"ACME.{kind}").write_text(whole, encoding="utf-8", errors="replace")
    except (ValueError, TypeError, OverflowError, pa.ArrowException):
        (folder / "ACME.parquet").write_bytes(b"PAR1" + rng.randbytes(200))


def _read(folder: Path, rng: random.Random) -> None:
    """Assert that a folder gives a sound market or one line, within seconds."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        market = read_sources([folder], Findings(collect=rng.random() < 0.5))
    except ConfigError as e:
        line = str(e)
        assert line.isprintable(), repr(line)
        assert len(line) <= 300
    else:
        _sound(market)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _fuzz(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.fuzz
@_fuzz(TAMPERED)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_tampered_file_gives_a_sound_market_or_one_line(seed):
    rng = random.Random(seed)
    name, content, source = rng.choice(TEMPLATES)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / name).write_bytes(_tamper(content, rng))
        if rng.random() < 0.5:
            (place / "bars.csv").write_bytes(PLAIN)
        if rng.random() < 0.4:
            source = rng.choice(SOURCES)
        if source:
            (place / "source.yaml").write_text(source)
        _read(place, rng)


@pytest.mark.fuzz
@_fuzz(TYPED)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_typed_table_of_anything_gives_a_sound_market_or_one_line(seed):
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        _write_typed(Path(folder), rng)
        _read(Path(folder), rng)
