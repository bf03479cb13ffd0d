"""
Macro pre-training (SPEC F3, phase 1): the top policy learns the regime and the sectors' budgets.

Supervised: cross-entropy on the regime, squared error on the budgets that `targets` makes with
hindsight. The regime's truth is the simulator's own where the book is simulated, and elsewhere
the label with hindsight (`Book.label`); measures are quoted against both where both exist. What
the book holds and has lost is drawn at random, so that the warm start does not lean on inputs
that mean nothing yet.

Beside the network's figures stand those of rules that learn nothing. For budgets: equal weight,
the training windows' mean, the same rule applied to the past, and the mean given the true
regime (which nobody knows). For regimes: persistence, which is the newest label whose hindsight
is over (60 sessions old), the desk's own causal estimate, and on the simulator the Bayes filter,
which knows every equation. Best epoch on the validation windows; a run resumes after its last
whole epoch. It knows no reward: `macro_ppo` goes on from here.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from agents.allocator.graph import load_graph
from agents.allocator.networks import EMBEDDING, HIDDEN, LOGIT_REGIMES, TopNet
from agents.allocator.observation import (
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Normaliser,
    assemble,
    group_means,
)
from agents.allocator.policy_file import GRAPH_FILE, PolicyCard, save_policy
from agents.arrays import FloatArray, IntArray
from agents.messages import TrainingRecord
from backtest.simulator.filter import beliefs
from config.allocator import MacroSettings, TargetSettings
from config.errors import DataError
from config.settings import LimitSettings
from learning.allocator.training.epochs import Progress, batches, shuffled, train_epochs
from learning.allocator.training.equity.micro import MAX_DRAWDOWN, random_book
from learning.allocator.training.equity.sector_graph import embeddings
from learning.allocator.training.phase_results import (
    PhaseResult,
    identity,
    training_record,
    write_result,
)
from learning.datasets.dataset import Dataset, training_rows
from learning.datasets.markets import simulated_market
from learning.datasets.targets import LABEL_SESSIONS, sector_targets, target_sessions
from learning.datasets.windows import Split, Window

PHASE = "macro-pretraining"
GROSS = LimitSettings().max_gross * LimitSettings().headroom
REGIMES = len(LOGIT_REGIMES)
GROSS_INPUT = MARKET_INPUTS.index("gross")
SHORTABLE_INPUT = INSTRUMENT_INPUTS.index("shortable")


def pretrain_macro(
    book: Dataset,
    split: Split,
    settings: MacroSettings,
    folder: Path,
    *,
    targets: TargetSettings | None = None,
    epochs: int | None = None,
    seed: int,
    resume: bool = False,
    progress: Progress | None = None,
    graph_folder: Path | None = None,
    gross: float = GROSS,
) -> PhaseResult:
    """
    Train the macro policy on `split.train`, export the epoch that validates best.

    `gross` is what its budgets may sum to, as in the environment. `graph_folder` is that of a
    trained sector graph; without one there are no embeddings. `folder` comes to hold the policy
    ("top"), checkpoints, the curve, TensorBoard scalars and the summary. `progress` is told each
    epoch and its losses.
    Raises DataError where a part has no session with a target, ConfigError where `resume` finds
    another run's checkpoint, there is no graph, or the disk is full.
    """
    started = time.perf_counter()
    targets = targets or TargetSettings()
    epochs = epochs or settings.epochs
    norm = Normaliser.fit(*training_rows(book, split))
    graph = None if graph_folder is None else graph_folder / GRAPH_FILE
    examples = Examples(book, split, targets, norm, graph, gross)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    net = top_net(len(book.groups), graph is not None)
    optimiser = torch.optim.AdamW(
        net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    rows, held_out = examples.rows(split.train), examples.rows(split.validation)

    def train(epoch: int) -> float:
        total = 0.0
        for some in shuffled(rng, len(rows), settings.batch_sessions):
            weights = random_book(rng, len(some), len(book.symbols))
            drawdown = rng.uniform(0.0, MAX_DRAWDOWN, len(some))
            groups, market = examples.seen(rows[some], weights, drawdown)
            groups = groups + settings.input_noise * torch.randn_like(groups)
            market = market + settings.input_noise * torch.randn_like(market)
            loss = _loss(net(groups, market), examples, rows[some], settings.regime_weight)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
            optimiser.step()
            total += float(loss.detach()) * len(some) / len(rows)
        return total

    @torch.no_grad()
    def validate() -> dict[str, float]:
        answer = examples.answers(net, held_out)
        loss = float(_loss(answer, examples, held_out, settings.regime_weight))
        return {"validation_loss": loss, **examples.measures(answer, held_out)}

    trained = train_epochs(
        net,
        optimiser,
        train,
        validate,
        folder,
        tag="macro",
        epochs=epochs,
        patience=settings.patience,
        rng=rng,
        meta=identity(PHASE, book, split, seed)
        | {
            "settings": msgspec.to_builtins(settings),
            "targets": msgspec.to_builtins(targets),
            "epochs": epochs,
            "graph": None if graph is None else hashlib.sha256(graph.read_bytes()).hexdigest(),
            "gross": gross,
        },
        resume=resume,
        progress=progress,
    )
    steps = len(rows) * trained.epoch
    record = training_record(book, split, steps, seed)
    card = top_card(book, norm, record, graph is not None, gross)
    save_policy(folder / card.slot, net, card, graph)
    clock = time.perf_counter()
    measures = {"best_epoch": float(trained.best_epoch)}
    for name, part in (("validation", held_out), ("test", examples.rows(split.test))):
        with torch.no_grad():
            found = examples.measures(examples.answers(net, part), part)
        found |= examples.references(part, rows)
        measures |= {f"{name}_{key}": value for key, value in found.items()}
    for truth, accuracy in filter_accuracy(book, examples, examples.rows(split.test)).items():
        measures[f"test_{truth}_filter_accuracy"] = accuracy
    seconds = trained.seconds
    seconds["references"] = time.perf_counter() - clock
    seconds["rest"] = time.perf_counter() - started - sum(seconds.values())
    result = PhaseResult(
        phase=PHASE,
        folder=str(folder),
        steps=steps,
        seconds=seconds,
        measures=measures,
        policies={card.slot: card.slot},
    )
    write_result(result)
    return result


def top_net(groups: int, with_embeddings: bool) -> TopNet:
    """
    Return a network whose budgets start at 80% of equity, shared equally.

    Budgets that ask for more than the gross are scaled down to it, and there the squared error
    says nothing of how much to ask for: a start above it would stay there.
    """
    net = TopNet(len(INSTRUMENT_INPUTS) + EMBEDDING * with_embeddings, len(MARKET_INPUTS), HIDDEN)
    nn.init.constant_(net.head.bias, 2.0 * 0.8 / groups - 1.0)
    return net


def top_card(
    book: Dataset, norm: Normaliser, record: TrainingRecord, with_graph: bool, gross: float
) -> PolicyCard:
    """Return the card of a macro policy whose regime's logits were trained."""
    return PolicyCard(
        kind="top",
        book=book.name,
        name="macro",
        groups=book.groups,
        hidden=HIDDEN,
        normaliser=norm,
        action_transform="clip",
        gross=gross,
        regimes=True,
        embeddings=with_graph,
        trained=record,
    )


def budgets_of(means: Tensor, gross: float) -> Tensor:
    """
    Return `top_budgets` for gradients; shapes: (B, G) -> (B, G).

    The clipping lets gradients through as they are, so that no sector is stuck at its end.
    """
    clipped = means + (means.clamp(-1.0, 1.0) - means).detach()
    asked = 0.5 * (clipped + 1.0)
    return gross * asked / asked.sum(dim=-1, keepdim=True).clamp(min=1.0)


class Examples:
    """
    What the macro policy sees, what it is to say, and what others would say.

    Shapes: budgets (M, T, G), regime (M, T) with -1 where unknown.
    """

    def __init__(
        self,
        book: Dataset,
        split: Split,
        targets: TargetSettings,
        norm: Normaliser,
        graph: Path | None,
        gross: float,
    ) -> None:
        self.book, self.gross = book, gross
        count = len(book.groups)
        # a row's mean does not change with the book that is held: worked out once
        self._features = np.stack(
            [group_means(norm.features(rows), book.group, count) for rows in book.features]
        )
        self._macro = norm.macro(book.macro)
        self._shortable = group_means(
            book.shortable[:, None].astype(np.float32), book.group, count
        )[:, 0]
        self.horizon = targets.horizon_sessions
        self.budgets = sector_targets(book, targets)
        self.truths = {"label": book.label}
        if book.simulator is not None:
            self.truths["hidden"] = book.hidden
        self.regime = book.truth
        self.embeddings = None if graph is None else embeddings(book, load_graph(graph))
        for name in ("train", "validation", "test"):
            if not len(self.rows(getattr(split, name))):
                raise DataError(
                    f"expected sessions with a regime and a target in the {name} windows of "
                    f"{book.source}, was none: they look {self._ahead} sessions ahead"
                )

    @property
    def _ahead(self) -> int:
        return max(self.horizon, LABEL_SESSIONS)

    def rows(self, windows: Sequence[Window]) -> IntArray:
        """Return the (market, session) pairs that have targets inside their window: (R, 2)."""
        pairs = []
        for window in windows:
            sessions = target_sessions(window, self._ahead)
            known = np.isfinite(self.budgets[window.market, sessions]).all(axis=-1)
            for truth in self.truths.values():
                known &= truth[window.market, sessions] >= 0
            sessions = sessions[known]
            pairs.append(np.column_stack([np.full(len(sessions), window.market), sessions]))
        return np.concatenate(pairs) if pairs else np.empty((0, 2), dtype=np.int64)

    def seen(
        self, rows: IntArray, weights: FloatArray, drawdown: FloatArray
    ) -> tuple[Tensor, Tensor]:
        """Return the groups' inputs (R, G, D) and the market's (R, C) under some books."""
        at = rows[:, 0], rows[:, 1]
        nothing = np.zeros((len(rows), len(self.book.groups)))
        seen = assemble(
            self._features[at],
            self._macro[at],
            group_means(
                weights[..., None].astype(np.float32), self.book.group, len(self.book.groups)
            )[..., 0],
            np.zeros(nothing.shape[1], dtype=np.bool_),
            nothing,
            drawdown,
        )
        seen.instruments[..., SHORTABLE_INPUT] = self._shortable  # a share of the group's
        seen.market[:, GROSS_INPUT] = np.abs(weights).sum(axis=-1)
        groups = seen.instruments
        if self.embeddings is not None:
            groups = np.concatenate([groups, self.embeddings[at]], axis=-1)
        return torch.from_numpy(groups), torch.from_numpy(seen.market)

    def answers(self, net: TopNet, rows: IntArray) -> tuple[Tensor, Tensor]:
        """Return the action means (R, G) and logits (R, 3) for an empty book."""
        codes = self.codes(net, rows)
        return net.head(codes).squeeze(-1), net.regimes(codes)

    def codes(self, net: TopNet, rows: IntArray) -> Tensor:
        """Return the groups' codes (R, G, H) for an empty book."""
        parts = []
        for some in batches(rows, 512):
            empty = np.zeros((len(some), len(self.book.symbols)))
            parts.append(net.encode(*self.seen(some, empty, np.zeros(len(some)))))
        return torch.cat(parts)

    def wanted(self, rows: IntArray) -> Tensor:
        """Return the target budgets: (R, G)."""
        return torch.from_numpy(self.budgets[rows[:, 0], rows[:, 1]].astype(np.float32))

    def measures(self, answer: tuple[Tensor, Tensor], rows: IntArray) -> dict[str, float]:
        """Return the budgets' loss, beside equal weight's, and the share of regimes named."""
        wanted = self.wanted(rows)
        loss = float((budgets_of(answer[0], self.gross) - wanted).square().mean())
        equal = float((wanted - 1.0 / wanted.shape[1]).square().mean())
        named = answer[1].argmax(dim=1).numpy()
        return {
            "allocation_loss": loss,
            "equal_weight_loss": equal,
            "equal_weight_frac": loss / equal,
            **{
                f"{truth}_accuracy": float(np.mean(named == values[rows[:, 0], rows[:, 1]]))
                for truth, values in self.truths.items()
            },
        }

    def references(self, rows: IntArray, training: IntArray) -> dict[str, float]:
        """Return the losses and accuracies of rules that learn nothing, or one number a sector."""
        market, session = rows[:, 0], rows[:, 1]
        wanted = self.budgets[market, session]
        learned = self.budgets[training[:, 0], training[:, 1]]
        past = self.budgets[market, np.maximum(session - self.horizon, 0)]
        out = {
            "constant_loss": _squared(wanted - learned.mean(axis=0)),
            "past_loss": _squared(wanted - past),
        }
        true = self.regime[training[:, 0], training[:, 1]]
        given = np.stack(
            [
                learned[true == k].mean(axis=0) if (true == k).any() else learned.mean(axis=0)
                for k in range(REGIMES)
            ]
        )
        out["true_regime_loss"] = _squared(wanted - given[self.regime[market, session]])
        last_known = self.book.label[market, np.maximum(session - LABEL_SESSIONS, 0)]
        common = int(np.bincount(true, minlength=REGIMES).argmax())
        for truth, values in self.truths.items():
            now = values[market, session]
            out[f"{truth}_persistence_accuracy"] = float(np.mean(last_known == now))
            out[f"{truth}_estimate_accuracy"] = float(
                np.mean(self.book.estimate[market, session] == now)
            )
            out[f"{truth}_majority_accuracy"] = float(np.mean(common == now))
        return out


def filter_accuracy(book: Dataset, examples: Examples, rows: IntArray) -> dict[str, float]:
    """
    Return how often the Bayes filter's likeliest regime is true; nothing for a real book.

    The filter runs over each market from its first session: seconds a market.
    """
    if book.simulator is None:
        return {}
    named = np.full(book.label.shape, -1)
    for market in np.unique(rows[:, 0]):
        simulated = simulated_market(book.name, book.simulator, book.seeds[market])
        belief = np.stack([b.probability for b in beliefs(simulated)])
        named[market] = belief.argmax(axis=1)
    at = rows[:, 0], rows[:, 1]
    return {
        truth: float(np.mean(named[at] == values[at])) for truth, values in examples.truths.items()
    }


def _loss(
    answer: tuple[Tensor, Tensor], examples: Examples, rows: IntArray, regime_weight: float
) -> Tensor:
    """Return the squared error in units of the equal weight squared, and the cross-entropy."""
    wanted = examples.wanted(rows)
    error = (budgets_of(answer[0], examples.gross) - wanted).square().mean() * wanted.shape[1] ** 2
    regime = torch.from_numpy(examples.regime[rows[:, 0], rows[:, 1]])
    return error + regime_weight * cross_entropy(answer[1], regime)


def _squared(error: FloatArray) -> float:
    return float(np.square(error).mean())
