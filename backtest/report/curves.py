"""
Draws curves as a PNG, for reports that need no browser.

It uses matplotlib's Agg canvas without its global state; the same curves write the same bytes.
The plots of the HTML report, which a reader may zoom, are in `charts`.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray
from config.files.whole import write_whole


@dataclass(frozen=True)
class Curve:
    """One line, the mean of R repeats in a band from the lowest to the highest; y (R, T)."""

    name: str
    colour: str
    x: NDArray[np.int64]
    y: FloatArray


@dataclass(frozen=True)
class Panel:
    """Curves on one pair of axes; `limits` of y, None where the curves decide."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    limits: tuple[float | None, float | None] = (None, None)


def write_curves(path: Path, panels: tuple[Panel, ...]) -> None:
    """Write panels side by side to a PNG, whole or not at all; a missing folder is made."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4 * len(panels), 4.4), layout="constrained")
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for curve in panel.curves:
            axes.plot(curve.x, curve.y.mean(axis=0), color=curve.colour, label=curve.name)
            low, high = curve.y.min(axis=0), curve.y.max(axis=0)
            axes.fill_between(curve.x, low, high, color=curve.colour, alpha=0.18, linewidth=0)
        axes.set_title(panel.title, fontsize=11)
        axes.set_xlabel(panel.x_label)
        axes.set_ylabel(panel.y_label)
        axes.set_ylim(*panel.limits)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110, metadata={"Software": None})
    write_whole(path, drawn.getvalue())
