"""
Phase 2 of the equity book: one bottom network learns every sector's stock targets, given a goal.

It minimises the squared error of weights, w = B_g · share, against the hindsight allocations of
`targets` at the same goal B. In training the goals, the present book and the drawdown are drawn
at random, anew each time a session is seen: so the network learns to act on any goal from any
book, and can read nothing of the future out of them (the sectors' own hindsight budgets would
tell it which sectors are about to rise). It is measured at the sectors' targets.

In a real market the target is `stock_targets`: equal risk over the next sessions, tilted to what
rose. A simulated market's stocks differ by a tenth in volatility, which twenty realised returns
miss by twice as much: two thirds of that target is noise that nobody can learn. There the same
rule is given the volatility and drift that the simulator planted (`planted_shares`), which no
feature shows. Losses stand beside equal weight's and the past's own inverse volatility's.
The best epoch on the validation windows is exported; a run resumes after its last whole epoch.
"""

import math
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn

from agents.allocator.networks import HIDDEN, BottomNet
from agents.allocator.observation import INSTRUMENT_INPUTS, MARKET_INPUTS, Normaliser, observe
from agents.allocator.policy_file import ANY_GROUP, PolicyCard, save_policy
from agents.arrays import FloatArray
from agents.messages import TrainingRecord
from config.allocator import MicroSettings, TargetSettings
from config.errors import DataError
from learning.allocator.training.epochs import shuffled, train_epochs
from learning.allocator.training.phase_results import (
    PhaseResult,
    identity,
    training_record,
    write_result,
)
from learning.allocator.training.training_run import TrainingRun
from learning.datasets.dataset import Dataset, training_rows
from learning.datasets.markets import simulated_market
from learning.datasets.targets import MAX_SCORE, sector_targets, stock_targets, target_rows
from learning.datasets.windows import Split, Window

PHASE = "micro-pretraining"
MAX_DRAWDOWN = 0.25  # of the random books that training shows
RISK_SESSIONS = 60  # the past that the inverse-volatility reference looks at


class Bounded(torch.autograd.Function):
    """
    Action means cut to [-1, 1], as trading cuts them, with gradients that can bring them back.

    A plain clamp has none outside, and what once left would stay there. Here a gradient passes
    unless descending it leads farther out.
    Source: Hausknecht and Stone 2016, "Deep Reinforcement Learning in Parameterized Action
    Space", whose inverting gradients fade towards the bounds where these stop at them.
    """

    @staticmethod
    def forward(ctx: Any, means: Tensor) -> Tensor:
        """Return actions."""
        ctx.save_for_backward(means)
        return means.clamp(-1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of the means."""
        (means,) = ctx.saved_tensors
        outward = ((means > 1.0) & (gradient < 0.0)) | ((means < -1.0) & (gradient > 0.0))
        return gradient.masked_fill(outward, 0.0)


def bounded(means: Tensor) -> Tensor:
    """Return action means as actions in [-1, 1]."""
    actions: Tensor = Bounded.apply(means)
    return actions


class SectorBottom(nn.Module):
    """
    A bottom network asked sector by sector, as the allocator asks it when it trades.

    A sector's rows see their own mean, and the whole market. Sectors of one size go together.
    Shapes: instruments (B, N, I), market (B, C) -> action means (B, N).
    """

    def __init__(self, net: BottomNet, group: NDArray[np.int64]) -> None:
        super().__init__()
        self.net = net
        self.group = torch.tensor(group)
        self.count = int(group.max()) + 1
        members = [np.flatnonzero(group == g) for g in range(self.count)]
        self._alike = [
            torch.from_numpy(np.stack([rows for rows in members if len(rows) == size]))
            for size in sorted({len(rows) for rows in members if len(rows)})
        ]  # (sectors of that size, size)

    def forward(self, instruments: Tensor, market: Tensor) -> Tensor:
        """Return each instrument's action mean."""
        batch = len(instruments)
        means = instruments.new_empty(instruments.shape[:2])
        for rows in self._alike:
            asked = instruments[:, rows].flatten(0, 1)  # (B * k, s, I)
            answer = self.net(asked, market.repeat_interleave(len(rows), dim=0))
            means[:, rows] = answer.reshape(batch, *rows.shape)
        return means

    def shares(self, means: Tensor) -> Tensor:
        """Return `bottom_shares` of long-only sectors, for gradients. Shape: (B, N)."""
        asked = 0.5 * (bounded(means) + 1.0)
        totals = asked.new_zeros((len(asked), self.count)).index_add(1, self.group, asked)
        return asked / totals.clamp(min=1.0)[:, self.group]


def pretrain_micro(run: TrainingRun) -> PhaseResult:
    """
    Train the micro policy on the training windows, export the epoch that validates best.

    The run's folder comes to hold the policy ("bottom"), checkpoints, the curve, TensorBoard
    scalars and the summary.
    Raises DataError where a part has no session with a target, ConfigError where a resume finds
    another run's checkpoint or the disk is full.
    """
    started = time.perf_counter()
    settings, dataset, split = run.settings.micro, run.dataset, run.split
    examples = _Examples(dataset, split, run.settings.target)
    norm = Normaliser.fit(*training_rows(dataset, split))
    rng = np.random.default_rng(run.seed)
    torch.manual_seed(run.seed)
    bottom = SectorBottom(BottomNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS)), dataset.group)
    optimiser = torch.optim.AdamW(
        bottom.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    rows, held_out = examples.rows(split.train), examples.rows(split.validation)
    reference = examples.losses_of(held_out)

    def train(epoch: int) -> float:
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(settings, epoch)
        total = 0.0
        for some in shuffled(rng, len(rows), settings.batch_sessions):
            budgets = random_budgets(rng, len(some), len(dataset.groups))
            weights = random_book(rng, len(some), len(dataset.symbols))
            drawdown = rng.uniform(0.0, MAX_DRAWDOWN, len(some))
            placed = _placed(bottom, examples, rows[some], budgets, weights, drawdown, norm)
            wanted = torch.from_numpy(examples.weights(rows[some], budgets))
            loss = (placed - wanted).square().mean()
            optimiser.zero_grad()
            # in units of the equal weight squared: of weights alone it would be near Adam's ε
            (loss * len(dataset.symbols) ** 2).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(some) / len(rows)
        return total

    def validate() -> dict[str, float]:
        loss = _loss(bottom, examples, held_out, norm)
        equal_weight_frac = loss / reference["equal_weight_loss"]
        return {"validation_loss": loss, "equal_weight_frac": equal_weight_frac}

    trained = train_epochs(
        bottom.net,
        optimiser,
        train,
        validate,
        run.folder,
        tag="micro",
        epochs=settings.epochs,
        patience=settings.patience,
        rng=rng,
        meta=identity(PHASE, run)
        | {
            "settings": msgspec.to_builtins(settings),
            "targets": msgspec.to_builtins(run.settings.target),
            "epochs": settings.epochs,
        },
        resume=run.resume,
        progress=run.progress,
    )
    steps = len(rows) * trained.epoch
    card = bottom_card(dataset, norm, training_record(run, steps), "micro")
    save_policy(run.folder / card.slot, bottom.net, card)
    measures = {
        "best_epoch": float(trained.best_epoch),
        "validation_loss": trained.best_loss,
        **reference,
    }
    measures["equal_weight_frac"] = trained.best_loss / reference["equal_weight_loss"]
    test = examples.rows(split.test)
    measures["test_loss"] = _loss(bottom, examples, test, norm)
    for name, value in examples.losses_of(test).items():
        measures[f"test_{name}"] = value
    measures["test_equal_weight_frac"] = measures["test_loss"] / measures["test_equal_weight_loss"]
    seconds = trained.seconds
    seconds["rest"] = time.perf_counter() - started - sum(seconds.values())
    return write_result(
        PhaseResult(
            phase=PHASE,
            folder=str(run.folder),
            steps=steps,
            seconds=seconds,
            measures=measures,
            policies={card.slot: card.slot},
        )
    )


def bottom_card(
    dataset: Dataset, norm: Normaliser, record: TrainingRecord, name: str
) -> PolicyCard:
    """Return the card of a micro policy: one network for any of the book's sectors."""
    return PolicyCard(
        kind="bottom",
        book=dataset.name,
        name=name,
        groups=dataset.groups,
        group=ANY_GROUP,
        hidden=HIDDEN,
        normaliser=norm,
        trained=record,
    )


def random_budgets(rng: np.random.Generator, count: int, groups: int) -> FloatArray:
    """Return goals that say nothing of the future: a Dirichlet's shares of a random gross."""
    gross = rng.uniform(0.3, 1.0, (count, 1))
    return np.asarray(rng.dirichlet(np.ones(groups), count) * gross)


def random_book(rng: np.random.Generator, count: int, stocks: int) -> FloatArray:
    """Return books to start from, half of them empty: weights that say nothing of the future."""
    weights = rng.dirichlet(np.ones(stocks), count) * rng.uniform(0.0, 1.0, (count, 1))
    return np.asarray(weights * (rng.random((count, 1)) < 0.5))


def planted_shares(dataset: Dataset, targets: TargetSettings) -> FloatArray:
    """
    Return the rule of `stock_targets` at what the simulator planted, not at what came of it.

    A stock's volatility and mean are those of its hidden state over the next sessions, free of
    their shocks. NaN where the horizon is not over by the end of the market. Shape: (M, T, N).
    """
    assert dataset.simulator is not None
    horizon = targets.horizon_sessions
    member = np.eye(len(dataset.groups))[dataset.group]
    sizes = member.sum(axis=0)
    out = np.full(dataset.returns.shape, np.nan)
    for m, seed in enumerate(dataset.seeds):
        market = simulated_market(dataset.name, dataset.simulator, seed)
        columns = [market.structure.symbols.index(symbol) for symbol in dataset.symbols]
        mean, deviation = (
            sliding_window_view(hidden[:, columns], horizon, axis=0).mean(axis=-1)[:-1]
            for hidden in (market.expected_return, market.volatility)
        )  # row t holds t..t + h - 1, each of the session after: (T - h, N)
        score = math.sqrt(horizon) * mean / deviation
        score = score - (score @ member / sizes)[:, dataset.group]
        raw = np.exp(targets.tilt * np.clip(score, -MAX_SCORE, MAX_SCORE)) / deviation
        out[m, : len(raw)] = raw / (raw @ member)[:, dataset.group]
    return out


class _Examples:
    """The targets of a book, and which sessions of a window have one."""

    def __init__(self, dataset: Dataset, split: Split, targets: TargetSettings) -> None:
        self.dataset = dataset
        self.horizon = targets.horizon_sessions
        planted = dataset.simulator is not None
        self.shares = (planted_shares if planted else stock_targets)(dataset, targets)  # (M, T, N)
        self.budgets = sector_targets(dataset, targets)  # (M, T, G)
        self._known = np.isfinite(self.shares).all(axis=-1)
        self._known &= np.isfinite(self.budgets).all(axis=-1)
        self.equal = 1.0 / np.bincount(dataset.group)[dataset.group]  # (N,), of a sector
        self.past = _past_shares(dataset)  # (M, T, N)
        for name in ("train", "validation", "test"):
            if not len(self.rows(getattr(split, name))):
                raise DataError(
                    f"expected sessions with a target {self.horizon} sessions ahead in the "
                    f"{name} windows of {dataset.source}, was none"
                )

    def rows(self, windows: Sequence[Window]) -> NDArray[np.int64]:
        """Return the (market, session) pairs of windows that have a target: (R, 2)."""
        return target_rows(windows, self.horizon, self._known)

    def weights(self, rows: NDArray[np.int64], budgets: FloatArray) -> NDArray[np.float32]:
        """Return the target weights under goals. Shapes: rows (R, 2), budgets (R, G)."""
        share = self.shares[rows[:, 0], rows[:, 1]]
        return (budgets[:, self.dataset.group] * share).astype(np.float32)

    def losses_of(self, rows: NDArray[np.int64]) -> dict[str, float]:
        """Return what two rules that learn nothing lose, at the sectors' targets."""
        budgets = self.budgets[rows[:, 0], rows[:, 1]][:, self.dataset.group]
        wanted = budgets * self.shares[rows[:, 0], rows[:, 1]]
        past = budgets * self.past[rows[:, 0], rows[:, 1]]
        return {
            "equal_weight_loss": float(np.square(budgets * self.equal - wanted).mean()),
            "past_volatility_loss": float(np.square(past - wanted).mean()),
        }


def _placed(
    bottom: SectorBottom,
    examples: _Examples,
    rows: NDArray[np.int64],
    budgets: FloatArray,
    weights: FloatArray,
    drawdown: FloatArray,
    norm: Normaliser,
) -> Tensor:
    """Return the weights that the network places at some sessions: (R, N)."""
    dataset = examples.dataset
    spread = budgets[:, dataset.group]
    seen = observe(
        dataset.features[rows[:, 0], rows[:, 1]],
        dataset.macro[rows[:, 0], rows[:, 1]],
        weights,
        dataset.shortable,
        spread,
        drawdown,
        norm,
    )
    means = bottom(torch.from_numpy(seen.instruments), torch.from_numpy(seen.market))
    return bottom.shares(means) * torch.from_numpy(spread.astype(np.float32))


def _loss(
    bottom: SectorBottom, examples: _Examples, rows: NDArray[np.int64], norm: Normaliser
) -> float:
    """Return the mean squared error of weights at the sectors' targets, from an empty book."""
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(rows), 256):
            some = rows[start : start + 256]
            budgets = examples.budgets[some[:, 0], some[:, 1]]
            empty = np.zeros((len(some), len(examples.dataset.symbols)))
            placed = _placed(bottom, examples, some, budgets, empty, np.zeros(len(some)), norm)
            wanted = torch.from_numpy(examples.weights(some, budgets))
            total += float((placed - wanted).square().mean()) * len(some)
    return total / len(rows)


def _past_shares(dataset: Dataset) -> FloatArray:
    """Return each stock's inverse-volatility share of its sector over the past: (M, T, N)."""
    squared = np.cumsum(np.square(np.nan_to_num(dataset.returns)), axis=1)
    before = np.zeros_like(squared)
    before[:, RISK_SESSIONS:] = squared[:, :-RISK_SESSIONS]
    inverse = 1.0 / np.sqrt(np.maximum(squared - before, 1e-8))
    member = np.eye(len(dataset.groups))[dataset.group]
    return np.asarray(inverse / (inverse @ member)[..., dataset.group])


def _learning_rate(settings: MicroSettings, epoch: int) -> float:
    """Return the epoch's learning rate: a cosine from the first to its floor."""
    low = settings.learning_rate_floor
    done = (epoch - 1) / max(settings.epochs - 1, 1)
    share = low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * done))
    return settings.learning_rate * share
