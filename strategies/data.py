"""
News, fundamentals, macro values and corporate actions as Nautilus custom data.

Each type carries one of our messages through the engine, the bus and the catalog, and gives it
back unchanged. `ts_init` is when the thing became known, which is when the engine delivers it.
Figures are JSON, since the catalog holds no dicts of floats.
"""

from typing import Any

import msgspec
import pyarrow as pa
from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.serialization.arrow.serializer import register_arrow

from agents.messages import FundamentalsReport, MacroValue, NewsItem


@customdataclass
class News(Data):
    """A `NewsItem`."""

    symbol: str = ""
    source: str = ""
    item_id: str = ""
    headline: str = ""
    body: str = ""


@customdataclass
class Fundamentals(Data):
    """A `FundamentalsReport`; `figures` is a JSON object."""

    symbol: str = ""
    period: str = "quarter"
    figures: str = "{}"


@customdataclass
class Macro(Data):
    """A `MacroValue`."""

    series: str = ""
    value: float = 0.0


@customdataclass
class Action(Data):
    """A split (new shares per old, 1.0: none) and a dividend (cash per share held before)."""

    symbol: str = ""
    split: float = 1.0
    dividend: float = 0.0


def _encode_batch(items: list[Any]) -> pa.RecordBatch:
    """Return one batch of many; Nautilus's own encoder makes a batch of each."""
    schema = type(items[0])._schema
    special = {"type": lambda item: type(item).__name__}
    columns = [
        [special[name](i) if name in special else getattr(i, name) for i in items]
        for name in schema.names
    ]
    return pa.RecordBatch.from_arrays(
        [pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )


for _kind in (News, Fundamentals, Macro, Action):
    register_arrow(_kind, _kind._schema, batch_encoder=_encode_batch)


def from_news(item: NewsItem) -> News:
    """Return a news item as custom data."""
    return News(**msgspec.structs.asdict(item))


def to_news(data: News) -> NewsItem:
    """Return the news item that custom data carries."""
    return msgspec.convert(data, NewsItem, from_attributes=True)


def from_fundamentals(report: FundamentalsReport) -> Fundamentals:
    """Return a fundamentals report as custom data."""
    figures = msgspec.json.encode(report.figures).decode()
    return Fundamentals(**msgspec.structs.asdict(report) | {"figures": figures})


def to_fundamentals(data: Fundamentals) -> FundamentalsReport:
    """Return the fundamentals report that custom data carries."""
    return msgspec.convert(
        {
            "symbol": data.symbol,
            "ts_event": data.ts_event,
            "ts_init": data.ts_init,
            "period": data.period,
            "figures": msgspec.json.decode(data.figures),
        },
        FundamentalsReport,
    )


def from_macro(value: MacroValue) -> Macro:
    """Return a macro value as custom data."""
    return Macro(**msgspec.structs.asdict(value))


def to_macro(data: Macro) -> MacroValue:
    """Return the macro value that custom data carries."""
    return msgspec.convert(data, MacroValue, from_attributes=True)


def from_action(symbol: str, ts: int, split: float, dividend: float) -> Action:
    """Return an action, known and effective at the opening `ts`, as custom data."""
    return Action(ts, ts, symbol=symbol, split=split, dividend=dividend)
