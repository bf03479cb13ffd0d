"""
Phase 1 of the equity book: the top policy learns the regime and the sectors' budgets from targets.

The loss is cross-entropy on the regime plus squared error on the budgets that `targets` makes
with hindsight. The regime's truth is the simulator's own where the markets are simulated, and
elsewhere the label with hindsight (`Dataset.label`); measures are quoted against both where both
exist. What the book holds and has lost is drawn at random, so that the warm start does not lean
on inputs that mean nothing yet.

The network's figures stand beside those of rules that learn nothing. For budgets: equal weight,
the training windows' mean, the same rule applied to the past, and the mean given the true
regime (which nobody knows). For regimes: persistence, which is the newest label whose hindsight
is over (60 sessions old), the desk's own causal estimate, and on the simulator the Bayes filter,
which knows every equation. The best epoch on the validation windows is exported; a run resumes
after its last whole epoch. It knows no reward: `macro_ppo` goes on from here.
"""

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
from config.errors import DataError
from learning.allocator.training.epochs import batches, shuffled, train_epochs
from learning.allocator.training.equity.micro import MAX_DRAWDOWN, random_book
from learning.allocator.training.equity.sector_graph import embeddings
from learning.allocator.training.phase_results import (
    PhaseResult,
    identity,
    training_record,
    write_result,
)
from learning.allocator.training.training_run import TrainingRun
from learning.datasets.dataset import Dataset, training_rows
from learning.datasets.markets import simulated_market
from learning.datasets.targets import LABEL_SESSIONS, sector_targets, target_rows
from learning.datasets.windows import Window

PHASE = "macro-pretraining"
REGIMES = len(LOGIT_REGIMES)
GROSS_INPUT = MARKET_INPUTS.index("gross")
SHORTABLE_INPUT = INSTRUMENT_INPUTS.index("shortable")


def pretrain_macro(run: TrainingRun, graph_folder: Path | None = None) -> PhaseResult:
    """
    Train the macro policy on the training windows, export the epoch that validates best.

    `graph_folder` is that of a trained sector graph; without one there are no embeddings. The
    run's folder comes to hold the policy ("top"), checkpoints, the curve, TensorBoard scalars and
    the summary.
    Raises DataError where a part has no session with a target, ConfigError where a resume finds
    another run's checkpoint, there is no graph, or the disk is full.
    """
    started = time.perf_counter()
    settings, dataset, split = run.settings.macro, run.dataset, run.split
    norm = Normaliser.fit(*training_rows(dataset, split))
    graph = None if graph_folder is None else graph_folder / GRAPH_FILE
    examples = Examples(run, norm, graph)
    rng = np.random.default_rng(run.seed)
    torch.manual_seed(run.seed)
    net = top_net(len(dataset.groups), graph is not None)
    optimiser = torch.optim.AdamW(
        net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    rows, held_out = examples.rows(split.train), examples.rows(split.validation)

    def train(epoch: int) -> float:
        total = 0.0
        for some in shuffled(rng, len(rows), settings.batch_sessions):
            weights = random_book(rng, len(some), len(dataset.symbols))
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
        run.folder,
        tag="macro",
        epochs=settings.epochs,
        patience=settings.patience,
        rng=rng,
        meta=identity(PHASE, run)
        | {
            "settings": msgspec.to_builtins(settings),
            "targets": msgspec.to_builtins(run.settings.target),
            "epochs": settings.epochs,
            "graph": None if graph is None else hashlib.sha256(graph.read_bytes()).hexdigest(),
            "gross": run.gross,
        },
        resume=run.resume,
        progress=run.progress,
    )
    steps = len(rows) * trained.epoch
    record = training_record(run, steps)
    card = top_card(dataset, norm, record, graph is not None, run.gross)
    save_policy(run.folder / card.slot, net, card, graph)
    clock = time.perf_counter()
    measures = {"best_epoch": float(trained.best_epoch)}
    for name, part in (("validation", held_out), ("test", examples.rows(split.test))):
        with torch.no_grad():
            found = examples.measures(examples.answers(net, part), part)
        found |= examples.references(part, rows)
        measures |= {f"{name}_{key}": value for key, value in found.items()}
    for truth, accuracy in filter_accuracy(dataset, examples, examples.rows(split.test)).items():
        measures[f"test_{truth}_filter_accuracy"] = accuracy
    seconds = trained.seconds
    seconds["references"] = time.perf_counter() - clock
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
    dataset: Dataset, norm: Normaliser, record: TrainingRecord, with_graph: bool, gross: float
) -> PolicyCard:
    """Return the card of a macro policy whose regime's logits were trained."""
    return PolicyCard(
        kind="top",
        book=dataset.name,
        name="macro",
        groups=dataset.groups,
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

    def __init__(self, run: TrainingRun, norm: Normaliser, graph: Path | None) -> None:
        dataset, targets = run.dataset, run.settings.target
        self.dataset, self.gross = dataset, run.gross
        count = len(dataset.groups)
        # a row's mean does not change with the book that is held: worked out once
        self._features = np.stack(
            [group_means(norm.features(rows), dataset.group, count) for rows in dataset.features]
        )
        self._macro = norm.macro(dataset.macro)
        self._shortable = group_means(
            dataset.shortable[:, None].astype(np.float32), dataset.group, count
        )[:, 0]
        self.horizon = targets.horizon_sessions
        self._ahead = max(self.horizon, LABEL_SESSIONS)
        self.budgets = sector_targets(dataset, targets)
        self.truths = {"label": dataset.label}
        if dataset.simulator is not None:
            self.truths["hidden"] = dataset.hidden
        self._known = np.isfinite(self.budgets).all(axis=-1)
        for truth in self.truths.values():
            self._known &= truth >= 0
        self.regime = dataset.truth
        self.embeddings = None if graph is None else embeddings(dataset, load_graph(graph))
        for name in ("train", "validation", "test"):
            if not len(self.rows(getattr(run.split, name))):
                raise DataError(
                    f"expected sessions with a regime and a target in the {name} windows of "
                    f"{dataset.source}, was none: they look {self._ahead} sessions ahead"
                )

    def rows(self, windows: Sequence[Window]) -> IntArray:
        """Return the (market, session) pairs that have targets inside their window: (R, 2)."""
        return target_rows(windows, self._ahead, self._known)

    def seen(
        self, rows: IntArray, weights: FloatArray, drawdown: FloatArray
    ) -> tuple[Tensor, Tensor]:
        """Return the groups' inputs (R, G, D) and the market's (R, C) under some books."""
        at = rows[:, 0], rows[:, 1]
        nothing = np.zeros((len(rows), len(self.dataset.groups)))
        seen = assemble(
            self._features[at],
            self._macro[at],
            group_means(
                weights[..., None].astype(np.float32), self.dataset.group, len(self.dataset.groups)
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
            empty = np.zeros((len(some), len(self.dataset.symbols)))
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
        last_known = self.dataset.label[market, np.maximum(session - LABEL_SESSIONS, 0)]
        common = int(np.bincount(true, minlength=REGIMES).argmax())
        for truth, values in self.truths.items():
            now = values[market, session]
            out[f"{truth}_persistence_accuracy"] = float(np.mean(last_known == now))
            out[f"{truth}_estimate_accuracy"] = float(
                np.mean(self.dataset.estimate[market, session] == now)
            )
            out[f"{truth}_majority_accuracy"] = float(np.mean(common == now))
        return out


def filter_accuracy(dataset: Dataset, examples: Examples, rows: IntArray) -> dict[str, float]:
    """
    Return how often the Bayes filter's likeliest regime is true; nothing for a real book.

    The filter runs over each market from its first session: seconds a market.
    """
    if dataset.simulator is None:
        return {}
    named = np.full(dataset.label.shape, -1)
    for market in np.unique(rows[:, 0]):
        simulated = simulated_market(dataset.name, dataset.simulator, dataset.seeds[market])
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
