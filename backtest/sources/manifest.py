"""
`source.yaml`: what a folder's owner states where the columns do not say enough.

Every key is optional, an unknown one is refused with its path; docs/data.md is the reference.
"""

import os
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from agents.messages import AssetClass
from backtest.market.market_data import PriceBasis
from config.errors import DataError, cut, shown
from config.yaml_text import read_yaml

FILE_NAME = "source.yaml"

type FileKind = Literal[
    "bars", "news", "fundamentals", "macro", "sectors", "actions", "closes", "ignore"
]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parts: frozen, unknown keys refused."""


class FileManifest(_Part, frozen=True, kw_only=True):
    """
    One file. `columns` maps canonical names to the file's own; `symbol` is the symbol of a file
    that has no such column, or "stem" or "folder" to take the name of the file or its folder.
    """

    kind: FileKind | None = None
    columns: dict[str, str] = {}
    symbol: str | None = None
    timezone: str | None = None
    price_basis: PriceBasis | None = None
    period: Literal["quarter", "annual"] | None = None


class InstrumentManifest(_Part, frozen=True, kw_only=True):
    """One instrument's static facts, each in place of what the data would say."""

    asset_class: AssetClass | None = None
    group: str | None = None
    currency: Annotated[str, Meta(min_length=3, max_length=5)] | None = None
    precision: Annotated[int, Meta(ge=0, le=9)] | None = None
    lot_size: Annotated[float, Meta(gt=0, le=1e12)] | None = None
    cost_bps: Annotated[float, Meta(ge=0, le=10_000)] | None = None
    shortable: bool | None = None


class Manifest(_Part, frozen=True, kw_only=True):
    """The whole of a source.yaml."""

    calendar: str | None = None
    asset_class: AssetClass | None = None
    price_basis: PriceBasis | None = None
    timezone: str = "UTC"
    non_sessions: Literal["refuse", "drop"] = "refuse"
    files: dict[str, FileManifest] = {}
    instruments: dict[str, InstrumentManifest] = {}


def load_manifest(folder: Path) -> Manifest:
    """
    Return a folder's source.yaml, or the defaults where there is none.

    Raises DataError with the path of the wrong key, or of a file that is not there.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return Manifest()
    tree = read_yaml(path, DataError) or {}
    parts: tuple[tuple[str, type[_Part]], ...] = (
        ("files", FileManifest),
        ("instruments", InstrumentManifest),
    )
    try:
        for part, kind in parts:
            entries = tree.get(part) if isinstance(tree, dict) else None
            for name, entry in (entries if isinstance(entries, dict) else {}).items():
                at = f"{part}.{name}: "
                msgspec.convert(entry, kind, strict=True)
        at = ""
        manifest = msgspec.convert(tree, Manifest, strict=True)
    except msgspec.ValidationError as e:
        raise DataError(f"{FILE_NAME}: {at}expected known keys and values, was {e}") from e
    for zone in (manifest.timezone, *(f.timezone for f in manifest.files.values())):
        try:
            ZoneInfo(zone or "UTC")
        except (KeyError, ValueError, OSError) as e:  # OSError: a folder of zones, a long name
            raise DataError(f"{FILE_NAME}: expected a timezone, was {shown(zone)}") from e
    for name in manifest.files:
        if not os.path.isfile(folder / name):
            raise DataError(
                f"{FILE_NAME}: expected files.{cut(name, 80)} to be there, was missing"
            )
    return manifest
