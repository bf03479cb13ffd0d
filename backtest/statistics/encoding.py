"""
Structs of figures, and how results.json holds them.

A figure that the data do not determine is an `Undefined` in its struct. In JSON it is null, and
its reason stands under `undefined` beside `figures`. The module knows no single figure.
"""

from __future__ import annotations

from typing import Any, Self

import msgspec

from backtest.statistics.measures import Undefined

type Bounds = tuple[float, float] | Undefined  # of a central 95% interval


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures by name; each is a value or an `Undefined` with its reason."""

    @property
    def undefined(self) -> dict[str, str]:
        """The reason of each figure that is undefined, by its name."""
        values = msgspec.structs.asdict(self)
        return {name: v.reason for name, v in values.items() if isinstance(v, Undefined)}

    @classmethod
    def none(cls, why: Undefined) -> Self:
        """Return the struct with every figure undefined for one reason."""
        return cls(**dict.fromkeys(cls.__struct_fields__, why))


def as_json(value: Any) -> Any:
    """
    Return a struct of statistics as JSON-able values, fields in their order.

    A struct of figures becomes `figures` and `undefined`; as the field `figures` of another
    struct it adds these two keys there. A field that is UNSET is left out.
    """
    if isinstance(value, Undefined):
        return None
    if isinstance(value, Figures):
        figures = {name: as_json(v) for name, v in msgspec.structs.asdict(value).items()}
        return {"figures": figures, "undefined": value.undefined}
    if isinstance(value, msgspec.Struct):
        found: dict[str, Any] = {}
        for name, member in msgspec.structs.asdict(value).items():
            if member is not msgspec.UNSET:
                made = as_json(member)
                found |= made if name == "figures" else {name: made}
        return found
    if isinstance(value, dict):
        return {key: as_json(member) for key, member in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_json(member) for member in value]
    return value
