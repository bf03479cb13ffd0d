"""
What a trained allocator sees, and what its actions mean: one definition for training and trading.

An observation is an array of instruments (a row each: their features and what the book holds of
them) beside one array of the market. Actions are numbers in [-1, 1]; `top_budgets` and
`bottom_shares` turn them into capital. Pure arrays with any leading axes: no network, no
environment and no message is known here. All is worked out in float32, so that a case's features
and an environment's give the same bytes.

Whoever changes what these numbers mean raises `OBSERVATION_VERSION`; a policy of another version
is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.arrays import Float32Array, FloatArray
from agents.features.batch import INSTRUMENT_FEATURES, MACRO_FEATURES

type Numbers = NDArray[np.floating[Any]]

OBSERVATION_VERSION = 1
INSTRUMENT_INPUTS: tuple[str, ...] = (*INSTRUMENT_FEATURES, "weight", "shortable", "budget")
MARKET_INPUTS: tuple[str, ...] = (*MACRO_FEATURES, "drawdown", "gross")

# Units that bring fractions of equity near 1: the default limits. They are constants of the
# observation, so that a run under other limits shows a policy the same book as the same numbers.
WEIGHT_UNIT = 0.10
BUDGET_UNIT = 0.40
DRAWDOWN_UNIT = 0.25
CLIP = 5.0  # standard deviations; returns and surprises have heavy tails
MIN_STD = 1e-8  # below it an input is a constant, and is only centred


class Normaliser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Means and standard deviations of the features, 22 numbers, and of the macro features, 18.

    Raises ValueError where they are not as many, not finite, or a deviation is not positive.
    """

    feature_mean: tuple[float, ...]
    feature_std: tuple[float, ...]
    macro_mean: tuple[float, ...]
    macro_std: tuple[float, ...]

    def __post_init__(self) -> None:
        expected = {"feature": len(INSTRUMENT_FEATURES), "macro": len(MACRO_FEATURES)}
        for name in self.__struct_fields__:
            numbers = getattr(self, name)
            count = expected[name.partition("_")[0]]
            if len(numbers) != count:
                raise ValueError(f"expected {count} numbers in {name}, was {len(numbers)}")
            if not np.isfinite(numbers).all():
                raise ValueError(f"expected finite numbers in {name}, was {numbers}")
            if name.endswith("std") and min(numbers) <= 0.0:
                raise ValueError(f"expected positive numbers in {name}, was {min(numbers)}")

    @classmethod
    def fit(cls, features: Numbers, macro: Numbers) -> Normaliser:
        """
        Return the statistics of training windows, and of nothing else.

        What is masked or infinite counts for nothing; an input that is never known, or never
        moves, has deviation 1.
        Shapes: features (..., 22), macro (..., 18).
        """
        feature_mean, feature_std = _moments(features)
        macro_mean, macro_std = _moments(macro)
        return cls(
            feature_mean=feature_mean,
            feature_std=feature_std,
            macro_mean=macro_mean,
            macro_std=macro_std,
        )

    def features(self, raw: Numbers) -> Float32Array:
        """Return instrument features as a network takes them. Shapes: (..., 22) -> (..., 22)."""
        return _normalised(raw, self.feature_mean, self.feature_std)

    def macro(self, raw: Numbers) -> Float32Array:
        """Return macro features as a network takes them. Shapes: (..., 18) -> (..., 18)."""
        return _normalised(raw, self.macro_mean, self.macro_std)


@dataclass(frozen=True)
class Observation:
    """Shapes: instruments (..., N, I), market (..., C), both float32 without NaN."""

    instruments: Float32Array
    market: Float32Array


def observe(
    features: Numbers,
    macro: Numbers,
    weights: Numbers,
    shortable: NDArray[np.bool_],
    budgets: Numbers,
    drawdown: Numbers | float,
    norm: Normaliser,
) -> Observation:
    """
    Return what a policy sees.

    `features` and `macro` are raw, NaN where masked; `weights` are the present ones and
    `budgets` each instrument's group's goal (0 for a top policy), fractions of equity; the book's
    gross is that of `weights`.
    Shapes: features (..., N, 22), macro (..., 18), weights and budgets (..., N), shortable (N,),
    drawdown (...).
    """
    return assemble(
        norm.features(features), norm.macro(macro), weights, shortable, budgets, drawdown
    )


def assemble(
    features: Float32Array,
    macro: Float32Array,
    weights: Numbers,
    shortable: NDArray[np.bool_],
    budgets: Numbers,
    drawdown: Numbers | float,
) -> Observation:
    """Return `observe`'s answer from features that a normaliser has already been through."""
    known = len(INSTRUMENT_FEATURES)
    instruments = np.empty((*features.shape[:-1], len(INSTRUMENT_INPUTS)), dtype=np.float32)
    instruments[..., :known] = features
    instruments[..., known] = np.asarray(weights) / WEIGHT_UNIT
    instruments[..., known + 1] = shortable
    instruments[..., known + 2] = np.asarray(budgets) / BUDGET_UNIT
    known = len(MACRO_FEATURES)
    market = np.empty((*macro.shape[:-1], len(MARKET_INPUTS)), dtype=np.float32)
    market[..., :known] = macro
    market[..., known] = np.asarray(drawdown) / DRAWDOWN_UNIT
    market[..., known + 1] = np.abs(weights).sum(axis=-1)
    return Observation(instruments, market)


def flatten(observation: Observation) -> Float32Array:
    """Return one vector: the instruments' rows, then the market. Shape: (..., N * I + C)."""
    instruments, market = observation.instruments, observation.market
    rows = instruments.reshape(*instruments.shape[:-2], -1)
    return np.concatenate([rows, market], axis=-1)


def unflatten(flat: Float32Array, n: int) -> Observation:
    """
    Return the observation of `n` instruments that `flatten` made a vector.

    Raises ValueError where the vector is not as long as that.
    """
    rows = n * len(INSTRUMENT_INPUTS)
    if flat.shape[-1] != rows + len(MARKET_INPUTS):
        raise ValueError(f"expected {rows + len(MARKET_INPUTS)} numbers, was {flat.shape[-1]}")
    return Observation(
        instruments=flat[..., :rows].reshape(*flat.shape[:-1], n, len(INSTRUMENT_INPUTS)),
        market=flat[..., rows:],
    )


def group_means(
    instruments: Float32Array,
    group: Sequence[int] | NDArray[np.integer[Any]],
    count: int,
    listed: NDArray[np.bool_] | None = None,
) -> Float32Array:
    """
    Return each group's mean row, 0 for a group without instruments: what a top policy sees.

    Rows are added in their order, so that a batch and one of its observations agree to the bit;
    those that are not `listed` (by default all are) count for nothing.
    Shapes: instruments (..., N, I), group (N,) of 0..count - 1, listed (..., N)
    -> (..., count, I).
    """
    index = np.asarray(group)
    means = np.zeros((*instruments.shape[:-2], count, instruments.shape[-1]), dtype=np.float32)
    for g in range(count):
        rows = np.flatnonzero(index == g)
        if listed is not None:
            there = listed[..., rows, None]
            known = np.where(there, instruments[..., rows, :], np.float32(0.0))
            number = np.maximum(there.sum(axis=-2), 1).astype(np.float32)
            means[..., g, :] = known.sum(axis=-2) / number
        elif len(rows):
            means[..., g, :] = instruments[..., rows, :].sum(axis=-2) / np.float32(len(rows))
    return means


def bottom_shares(
    action: Numbers, shortable: NDArray[np.bool_], listed: NDArray[np.bool_] | bool = True
) -> FloatArray:
    """
    Return the shares of a group's budget that an action asks for; weights are budget x shares.

    -1..1 is short to long where an instrument can be shorted, nothing to long where not. Absolute
    shares sum to at most 1: what is asked beyond it is scaled down, nothing is scaled up. What is
    not `listed` has no share.
    Shapes: action (..., n), clipped to [-1, 1]; shortable (n,), listed (..., n) -> (..., n).
    """
    signed = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
    asked = np.where(listed, np.where(shortable, signed, 0.5 * (signed + 1.0)), 0.0)
    return asked / np.maximum(np.abs(asked).sum(axis=-1, keepdims=True), 1.0)


def top_budgets(action: Numbers, gross: float) -> FloatArray:
    """
    Return the groups' budgets that an action asks for, fractions of equity.

    They are at least 0 and sum to at most `gross`; the rest stays in cash.
    Shapes: action (..., G), clipped to [-1, 1] -> (..., G).
    """
    asked = 0.5 * (np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0) + 1.0)
    return gross * asked / np.maximum(asked.sum(axis=-1, keepdims=True), 1.0)


def _moments(raw: Numbers) -> tuple[tuple[float, ...], tuple[float, ...]]:
    rows = np.asarray(raw, dtype=np.float64).reshape(-1, raw.shape[-1])
    finite = np.isfinite(rows)
    count = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, rows, 0.0).sum(axis=0) / count
    spread = np.where(finite, rows - mean, 0.0)
    std = np.sqrt((spread * spread).sum(axis=0) / count)
    return tuple(mean.tolist()), tuple(np.where(std < MIN_STD, 1.0, std).tolist())


def _normalised(raw: Numbers, mean: Sequence[float], std: Sequence[float]) -> Float32Array:
    centred = np.asarray(raw, dtype=np.float32) - np.asarray(mean, dtype=np.float32)
    centred /= np.asarray(std, dtype=np.float32)
    np.clip(centred, -CLIP, CLIP, out=centred)
    centred[np.isnan(centred)] = 0.0
    return centred
