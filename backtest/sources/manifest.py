"""
`source.yaml`: what a folder's owner states where the columns do not say enough.

Every key is optional, an unknown one is refused with its path; docs/data.md is the reference.
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agents.messages import AssetClass
from backtest.market.market_data import PriceBasis
from backtest.sources.files.marks import Mark
from backtest.sources.files.stamps import check_zone
from config.errors import DataError, cut, shown
from config.files.yaml_text import read_yaml

FILE_NAME = "source.yaml"
OTHER_NAME = "source.yml"  # never read: one name, so that nothing stated is left unread

type FileKind = Literal[
    "bars", "news", "fundamentals", "macro", "sectors", "actions", "closes", "ignore"
]
type StampSide = Literal["open", "close"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parts: frozen, unknown keys refused."""


class FileManifest(_Part, frozen=True, kw_only=True):
    """
    One file, or all whose names fit a pattern like "*.csv".

    `columns` maps canonical names to the file's own; `symbol` is the symbol of a file that has no
    such column, or "stem" or "folder" to take the name of the file or its folder. `stamp` says
    whether intraday stamps are the bars' openings or their ends; `date_format` is strptime's;
    `decimal` is the mark of numbers that could be read two ways.
    """

    kind: FileKind | None = None
    columns: dict[str, str] = {}
    symbol: str | None = None
    timezone: str | None = None
    date_format: str | None = None
    stamp: StampSide | None = None
    decimal: Mark | None = None
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
    timezone: str | None = None
    stamp: StampSide | None = None
    non_sessions: Literal["refuse", "drop"] = "refuse"
    files: dict[str, FileManifest] = {}
    instruments: dict[str, InstrumentManifest] = {}

    def of(self, name: str) -> FileManifest:
        """Return what is stated of a file: by its name, else by the first pattern that fits."""
        if name in self.files:
            return self.files[name]
        fitting = (given for pattern, given in self.files.items() if fnmatchcase(name, pattern))
        return next(fitting, FileManifest())


def load_manifest(folder: Path) -> Manifest:
    """
    Return a folder's source.yaml, or the defaults where there is none.

    Raises DataError with the path of the wrong key, or of a file that is not there.
    """
    path, other = folder / FILE_NAME, folder / OTHER_NAME
    if not path.exists() and other.exists():
        raise DataError(f"expected {FILE_NAME}, was {OTHER_NAME}: rename it")
    if not path.exists():
        return Manifest()
    if not path.is_file():
        raise DataError(f"{FILE_NAME}: expected a file, was none")
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
            check_zone(zone or "UTC")
        except (KeyError, ValueError, OSError) as e:  # OSError: a folder of zones, a long name
            raise DataError(
                f"{FILE_NAME}: expected a timezone, as Europe/London or America/New_York+7, "
                f"was {shown(zone)}"
            ) from e
    there = [p.name for p in folder.iterdir() if p.is_file()]
    for name in manifest.files:
        if not any(fnmatchcase(file, name) for file in there) and name not in there:
            raise DataError(
                f"{FILE_NAME}: expected files.{cut(name, 80)} to be there, was missing"
            )
    return manifest
