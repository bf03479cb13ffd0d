"""
The joint phase: specialists and meta-controller go on learning together, over one encoder.

The file reads top to bottom: the run, the update, validation and checkpoints. The learner is PPO
with one clipped loss a head - every head is an actor of its own, with its own probability ratio -
and one critic that sees the whole book. All are paid by the one portfolio's reward.

Start. The shared net begins as the earlier phases' policies side by side (`joint_net`), and
answers as they do. The critic alone learns first, for `critic_updates`: an untrained one
would undo what the heads know. The earlier policies are the first candidate, so that
what this phase exports is never worse than what it was given, by validation Sharpe.

Update. The meta head and the critic learn from every rollout, the bottom heads at every fifth
update from all the rollouts since their last: they have not changed, so all of it is on-policy.
The encoder moves with the bottom heads, when all heads have losses: a step for the meta head
alone would change the specialists, too. Where the heads' gradients on the encoder conflict they
are projected (`pcgrad`), then summed and clipped.

Exploration. A head's noise remembers (`rollout`).

Rates. Each part has its own: after an update that moved it by more than 1.5 times `target_kl` it
is divided by 1.5, by less than 1/1.5 of it multiplied, within `rate_bounds`; the encoder's goes
by the head that moved most.

Sources: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", the clipped loss, and
its adaptive KL rule, used on the rates in place of the penalty; Yu et al. 2022, "The Surprising
Effectiveness of PPO in Cooperative Multi-Agent Games", one critic for several actors. Departures:
no value clipping; a group of the micro policy counts as an actor of its own, because a ratio of
fifty instruments' noise leaves the clip range at once. Neither mixed precision nor torch.compile:
at these sizes, on a CPU, neither pays.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.policy_file import GRAPH_FILE, save_policy
from agents.arrays import Float32Array
from config.errors import ConfigError, Halt
from learning.allocator.evaluation.policy_paths import run_policy, tiered_act
from learning.allocator.training import checkpoints
from learning.allocator.training.joint.critic import Critic
from learning.allocator.training.joint.curriculum import Curriculum
from learning.allocator.training.joint.joint_net import (
    ENCODER,
    LOG_TWO_PI,
    REGIME,
    TOP,
    EarlierPolicies,
    SharedNet,
    View,
    bottom_policies_by_group,
    trained_card,
)
from learning.allocator.training.joint.pcgrad import (
    conflict_share,
    flat,
    project_conflicts,
    unflat,
)
from learning.allocator.training.joint.rollout import Player, Rollout, Row
from learning.allocator.training.phase_results import (
    CHECKPOINTS,
    CURVE_FILE,
    LOGS,
    PhaseResult,
    write_curve,
    write_result,
)
from learning.allocator.training.training_run import TrainingRun
from learning.datasets.windows import Window
from learning.envs.environments import JointEnvironment

RATE_STEP = 1.5


def train_joint(
    run: TrainingRun,
    top_folder: Path,
    bottom_folders: Mapping[str, Path],
    *,
    crises: Sequence[Window] = (),
    embeddings: Float32Array | None = None,
) -> PhaseResult:
    """
    Train both tiers together and export the best of it by validation Sharpe.

    `bottom_folders` name the earlier bottom policies by group, or the one for any group by "*".
    `crises` are windows of the dataset's generated markets (`with_crises`); `embeddings`
    (M, T, G, E) go with a top policy that takes them. Checkpoints, logs, the curve, the result
    and the policies ("top", "bottom-<group>" or "bottom") go into the run's folder.
    Raises ConfigError where the earlier policies do not fit, or a checkpoint is another run's or
    cannot be written, Halt where a number is not finite.
    """
    earlier = EarlierPolicies(run.dataset, top_folder, bottom_folders)
    if earlier.top_card.embeddings != (embeddings is not None):
        raise ConfigError(
            f"expected embeddings as {earlier.top_card.name!r} takes them, "
            f"was {'some' if embeddings is not None else 'none'}"
        )
    with _one_thread(), _writing(run.folder):
        return _Trainer(run, earlier, crises, embeddings).train()


class _Trainer:
    """The learner and all that a checkpoint has to hold of it."""

    def __init__(
        self,
        run: TrainingRun,
        earlier: EarlierPolicies,
        crises: Sequence[Window],
        embeddings: Float32Array | None,
    ) -> None:
        self.run, self.earlier, self.embeddings = run, earlier, embeddings
        self.joint = joint = run.settings.joint
        self.layout = earlier.layout
        self.arena = arena = run.arena(earlier.top_card.normaliser)
        self.curriculum = Curriculum(
            run.dataset, arena.windows, joint.curriculum, arena.episode, crises
        )
        self.environment = JointEnvironment(arena, joint.envs, run.seed, self.curriculum)
        self.rng = np.random.default_rng([run.seed, 1])  # exploration, minibatches, projection
        torch.manual_seed(run.seed)
        self.net = SharedNet(earlier, joint.first_std, joint.move_std)
        self.critic = Critic(self.net.wide, self.net.encoder.market, earlier.top_card.hidden)
        self.parts = self.net.parts
        self.learned = [*self.parts]  # the regime only where the top was taught it
        if not earlier.top_card.regimes:
            self.learned.remove(REGIME)
        self.rates = dict.fromkeys(self.learned, joint.learning_rate)
        self.optimizer = torch.optim.Adam(
            [{"params": self.parts[part], "name": part} for part in self.learned]
            + [{"params": list(self.critic.parameters()), "name": "critic"}],
            lr=joint.learning_rate,
            eps=1e-5,
        )
        self.player = Player(self.environment, self.net, self.critic, joint, embeddings, self.rng)
        self.updates = 0
        self.waiting: list[Rollout] = []  # for the bottom policies' next turn
        self.curve: list[Row] = []
        self.seconds = dict.fromkeys(("environment", "rollout", "update", "validation"), 0.0)
        self.earlier_sharpe = math.nan  # of the earlier policies, on validation

    @property
    def steps(self) -> int:
        """How many environment steps were taken."""
        return self.updates * self.joint.envs * self.joint.rollout_steps

    # --- the whole run -------------------------------------------------------------------------

    def train(self) -> PhaseResult:
        """Train for the settings' steps, up to a whole rollout, and export the best."""
        from torch.utils.tensorboard import SummaryWriter

        folder, timesteps = self.run.folder, self.joint.timesteps
        store, meta = folder / CHECKPOINTS, self._meta()
        found = checkpoints.latest(store) if self.run.resume else None
        if found is not None:
            checkpoints.check_same_run(folder, found.meta, meta)
            self._restore(found.state)
        else:
            for old in store.glob(checkpoints.PATTERN):
                old.unlink()
            self.earlier_sharpe = self._sharpe(self.earlier.top_net, self.earlier.nets)
            self.player.begin()
            self._save(store, meta, self.earlier_sharpe)
        total = math.ceil(timesteps / (self.joint.envs * self.joint.rollout_steps))
        logs = SummaryWriter(str(folder / LOGS), purge_step=self.steps)
        try:
            while self.updates < total:
                row = self._train_once()
                last = self.updates == total
                if last or self.updates % self.joint.checkpoint_every == 0:
                    row["validation_sharpe"] = self._validate()
                self.curve.append(row)
                for name, value in row.items():
                    if math.isfinite(value):
                        logs.add_scalar(f"joint/{name}", value, self.steps)
                if math.isfinite(row["validation_sharpe"]):
                    self._save(store, meta, row["validation_sharpe"])
                    write_curve(folder / CURVE_FILE, self.curve)
                self.run.progress(self.steps, row)
        finally:
            logs.close()
        return self._finish(() if found is None else found.notes)

    def _train_once(self) -> Row:
        """Play one rollout and learn from it; return the curve's row."""
        parts = self._turn()
        level = self.curriculum.level
        began = time.perf_counter()
        before = self.player.seconds
        rollout, played = self.player.play()
        middle, lived = time.perf_counter(), self.player.seconds - before
        self.seconds["environment"] += lived
        self.seconds["rollout"] += middle - began - lived
        self.waiting.append(rollout)
        if ENCODER in parts:
            rollout = Rollout.joined(self.waiting)
        if not parts or ENCODER in parts:
            self.waiting = []
        learned = self._update(rollout, parts)
        self.seconds["update"] += time.perf_counter() - middle
        self.updates += 1
        self._guard()
        self.curriculum.report(played["reward"])
        row = {"steps": float(self.steps), **played, **learned, "level": float(level)}
        row |= {f"rate_{part}": rate for part, rate in self.rates.items()}
        return row | {"validation_sharpe": math.nan}

    # --- update --------------------------------------------------------------------------------

    def _turn(self) -> list[str]:
        """Return the parts whose turn it is at the next update, beside the critic's."""
        if self.updates < self.joint.critic_updates:
            return []
        if (self.updates + 1) % self.joint.specialists_every == 0:
            return self.learned
        return [part for part in self.learned if part in (TOP, REGIME)]

    def _update(self, rollout: Rollout, parts: Sequence[str]) -> Row:
        """Let the critic and some parts learn from a rollout; the encoder needs all the heads."""
        j = self.joint
        full = ENCODER in parts
        moved = dict.fromkeys(parts, 0.0)  # by the last epoch's mean KL
        losses = dict.fromkeys([*parts, "value"], 0.0)
        conflicts, count = 0.0, 0
        with torch.no_grad():  # the encoder stands still without the bottom policies
            code = None if full else self.net.encode_top(rollout.view)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates.get(group["name"], j.learning_rate)
        for epoch in range(j.epochs):
            order = torch.from_numpy(self.rng.permutation(len(rollout.returns)))
            minibatches = torch.split(order, j.minibatch)
            for rows in minibatches:
                some = rollout.view.take(rows)
                heads = self._head_losses(rollout, rows, some, code) if parts else {}
                conflict = self._differentiate({p: loss for p, (loss, _) in heads.items()})
                value = (self.critic(some) - rollout.returns[rows]).square().mean()
                critic = list(self.critic.parameters())
                _assign(critic, torch.autograd.grad(value, critic))
                nn.utils.clip_grad_norm_(self.net.parameters(), j.clip_norm)
                nn.utils.clip_grad_norm_(critic, j.clip_norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                losses["value"] += float(value.detach())
                conflicts, count = conflicts + conflict, count + 1
                for part, (loss, kl) in heads.items():
                    losses[part] += float(loss.detach())
                    if epoch == j.epochs - 1:
                        moved[part] += kl / len(minibatches)
        if full:
            moved[ENCODER] = max(moved.values())
        self._adapt(moved)
        row = {f"loss_{part}": losses.get(part, 0.0) / count for part in (TOP, "value")}
        bottom_policies = [p for p in parts if p not in (TOP, REGIME, ENCODER)]
        row["loss_bottoms"] = (
            float(np.mean([losses[p] for p in bottom_policies])) / count if full else 0.0
        )
        row["kl_top"] = moved.get(TOP, 0.0)
        row["kl_bottoms"] = max((moved[p] for p in bottom_policies), default=0.0)
        row["conflict_share"] = conflicts / count if full else math.nan
        spreads = torch.stack([self.net.top_spread, *self.net.spreads]).detach()
        row["entropy"] = float(spreads.mean()) + 0.5 * (1.0 + LOG_TWO_PI)  # nats an action
        return row

    def _head_losses(
        self, rollout: Rollout, rows: Tensor, some: View, code: Tensor | None
    ) -> dict[str, tuple[Tensor, float]]:
        """Return the loss of each head and how far it has moved; the top's alone with `code`."""
        j = self.joint
        encoded = self.net.encode_top(some) if code is None else code[rows]
        means, logits = self.net.read_top(encoded)
        own = rows >= rollout.fresh
        found = {TOP: self._clipped(rollout, 0, means[own], rows[own])}
        if REGIME in self.learned:
            labels = rollout.labels[rows]
            known = labels >= 0
            if bool(known.any()):
                loss = functional.cross_entropy(logits[known], labels[known])
                found[REGIME] = j.regime_coef * loss, 0.0
            else:
                found[REGIME] = 0.0 * logits.sum(), 0.0
        if code is None:
            for h, (name, _) in enumerate(self.layout.heads):
                means = self.net.bottom(some, h)
                found[f"bottom-{name}"] = self._clipped(rollout, h + 1, means, rows)
        return found

    def _clipped(
        self, rollout: Rollout, head: int, means: Tensor, rows: Tensor
    ) -> tuple[Tensor, float]:
        """Return PPO's clipped loss of one head, and its approximate KL (Schulman's k3)."""
        j = self.joint
        log_probs = self.net.log_probs(head, means, rollout.actions[head][rows])
        log_ratio = log_probs - rollout.log_probs[head][rows]
        ratio = log_ratio.exp()
        advantage = rollout.advantages[rows].unsqueeze(-1)
        gain = torch.minimum(
            ratio * advantage, ratio.clamp(1.0 - j.clip, 1.0 + j.clip) * advantage
        )
        count = max(1, gain.numel())  # a minibatch of rollouts in a row may have no fresh session
        loss = -gain.sum() / count - j.entropy_coef * self.net.spread(head)
        return loss, float((ratio - 1.0 - log_ratio).detach().sum()) / count

    def _differentiate(self, losses: Mapping[str, Tensor]) -> float:
        """
        Set the gradients of the losses' heads, and of the encoder where the losses reach it.

        Return the share of heads' pairs whose gradients on the encoder conflict.
        """
        shared = self.parts[ENCODER]
        joint = any(part not in (TOP, REGIME) for part in losses)
        rows = []
        for part, loss in losses.items():
            own = self.parts[part]
            both = [*shared, *own] if joint else own
            gradients = torch.autograd.grad(loss, both, retain_graph=True)
            _assign(own, gradients[len(both) - len(own) :])
            if joint:
                rows.append(flat(gradients[: len(shared)]))
        if not joint:
            return 0.0
        stacked = torch.stack(rows)
        if self.joint.projection:
            total, conflicts = project_conflicts(stacked, self.rng)
        else:
            total, conflicts = stacked.sum(dim=0), conflict_share(stacked)
        _assign(shared, unflat(total, shared))
        return conflicts

    def _adapt(self, moved: Mapping[str, float]) -> None:
        """Let each part's rate follow how far the update moved it."""
        low, high = (self.joint.learning_rate * bound for bound in self.joint.rate_bounds)
        for part, kl in moved.items():
            if part == REGIME:
                continue  # supervised: there is no policy that could move too far
            if kl > RATE_STEP * self.joint.target_kl:
                self.rates[part] = max(low, self.rates[part] / RATE_STEP)
            elif kl < self.joint.target_kl / RATE_STEP:
                self.rates[part] = min(high, self.rates[part] * RATE_STEP)

    def _guard(self) -> None:
        """Stop at the first number that is not finite: nothing after it would be of use."""
        parameters = [*self.net.parameters(), *self.critic.parameters()]
        finite = all(bool(p.isfinite().all()) for p in parameters)
        if not finite or not np.isfinite(self.player.observation).all():
            raise Halt(
                "joint training: expected finite weights and observations, "
                f"was NaN or infinite after step {self.steps}"
            )

    # --- validation, checkpoints, result -------------------------------------------------------

    def _sharpe(self, top: TopNet, nets: Sequence[BottomNet]) -> float:
        """Return the portfolio's Sharpe ratio on the validation windows, without exploration."""
        dataset = self.run.dataset
        bottom_policies = bottom_policies_by_group(dataset, self.layout, nets)
        act = tiered_act(
            dataset,
            self.arena.norm,
            top,
            bottom_policies,
            self.environment.gross,
            embeddings=self.embeddings,
        )
        return run_policy(dataset, self.run.split.validation, self.arena.settings, act).sharpe

    def _validate(self) -> float:
        began = time.perf_counter()
        sharpe = self._sharpe(*self.net.export())
        self.seconds["validation"] += time.perf_counter() - began
        return sharpe

    def _meta(self) -> dict[str, Any]:
        """Return what makes this run this run, as JSON gives it back, for a resume to compare."""
        said = {
            "settings": [self.arena.settings, self.joint, self.arena.reward, self.arena.episode],
            "dataset": self.run.dataset.digest,
            "earlier": self.earlier.digests,
            "seed": self.run.seed,
            "timesteps": self.joint.timesteps,
        }
        meta: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(said))
        return meta

    def _save(self, store: Path, meta: dict[str, Any], score: float) -> None:
        state = {
            "net": self.net.state_dict(),
            "critic": self.critic.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rates": self.rates,
            "environment": self.environment.state(),
            "observation": self.player.observation,
            "noise": self.player.noise,
            "curriculum": self.curriculum.state(),
            "generators": checkpoints.generator_states(learner=self.rng),
            "updates": self.updates,
            "waiting": [asdict(rollout) for rollout in self.waiting],
            "curve": self.curve,
            "seconds": self.seconds,
            "earlier_sharpe": self.earlier_sharpe,
        }
        checkpoints.save_checkpoint(store, self.steps, state, meta, score=score)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rates = state["rates"]
        self.environment.restore(state["environment"])
        self.player.observation, self.player.noise = state["observation"], state["noise"]
        self.curriculum.restore(state["curriculum"])
        checkpoints.restore_generators(state["generators"], learner=self.rng)
        self.updates, self.curve = state["updates"], state["curve"]
        self.waiting = [
            Rollout(**rollout | {"view": View(**rollout["view"])}) for rollout in state["waiting"]
        ]
        self.seconds, self.earlier_sharpe = state["seconds"], state["earlier_sharpe"]

    def _finish(self, notes: tuple[str, ...]) -> PhaseResult:
        """Export the best, which may be what the phase was given, and write the summary."""
        folder = self.run.folder
        chosen = checkpoints.best(folder / CHECKPOINTS)
        cards = [self.earlier.top_card, *self.earlier.cards]
        if chosen is not None and chosen.score is not None and chosen.score > self.earlier_sharpe:
            self.net.load_state_dict(chosen.state["net"])
            top, bottom_policies = self.net.export()
            hidden = self.net.encoder.hidden
            cards = [
                trained_card(card, hidden=hidden, steps=chosen.step, seed=self.run.seed)
                for card in cards
            ]
            best, step = chosen.score, chosen.step
        else:
            top, bottom_policies = self.earlier.top_net, self.earlier.nets
            best, step = self.earlier_sharpe, 0
            notes += ("no joint policy was better on validation: the earlier phase's stand",)
        graph = self.earlier.top_folder / GRAPH_FILE if cards[0].embeddings else None
        policies = {}
        nets: list[TopNet | BottomNet] = [top, *bottom_policies]
        for net, card in zip(nets, cards, strict=True):
            save_policy(folder / card.slot, net, card, graph if card.kind == "top" else None)
            policies[card.slot] = card.slot
        shares = [row["conflict_share"] for row in self.curve]
        known = [share for share in shares if math.isfinite(share)]
        write_curve(folder / CURVE_FILE, self.curve)
        return write_result(
            PhaseResult(
                phase="joint",
                folder=str(folder),
                steps=self.steps,
                seconds=self.seconds,
                measures={
                    "earlier_sharpe": self.earlier_sharpe,
                    "validation_sharpe": best,
                    "best_step": float(step),
                    "conflict_share": float(np.mean(known)) if known else 0.0,
                    "level": float(self.curriculum.level),
                },
                policies=policies,
                notes=notes,
            )
        )


def _assign(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make one error of a log that cannot be written, as on a full disk."""
    try:
        yield
    except OSError as e:
        raise ConfigError(
            f"{folder}: expected to write there, was: {e.strerror}; "
            "the last good checkpoint can be resumed"
        ) from e


@contextmanager
def _one_thread() -> Iterator[None]:
    """Train on one thread: sums over several differ in their last bits from run to run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
