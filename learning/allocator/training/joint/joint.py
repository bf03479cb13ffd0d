"""
The joint phase: specialists and meta-controller go on learning together, over one encoder.

Reads top to bottom: rollout, update, validation, checkpoint. The learner is PPO with
one clipped loss a head - every head is an actor of its own, with its own probability ratio - and
one critic that sees the whole book. All are paid by the one portfolio's reward.

Start. The shared net begins as the earlier phases' policies side by side (`joint_net`), and
answers as they do. The critic alone learns first, for `critic_updates`: what an untaught one
calls good would undo what the heads know. The earlier policies are the first candidate, so that
what this phase exports is never worse than what it was given, by validation Sharpe.

Update. The meta head and the critic learn from every rollout, the bottoms at every fifth update
from all the rollouts since their last: they have stood still, so all of it is what they do now.
The encoder moves with the bottoms, when every head has its say: a step on the meta head's behalf
alone would move the specialists under its feet. Where the heads' gradients on the encoder
conflict they are projected (`pcgrad`), then summed and clipped.

Exploration. A head's noise remembers: each session it keeps `noise_memory` of itself and is
filled up to the same deviation, so that what is learned from is N(mean, spread) at every session
and the book is not turned over by noise alone, which at 0.3% a fill would cost more than any
policy earns. A bottom that answers with moves from what it holds has its memory in the
book: its noise is fresh, of `move_std`, for a move below the no-trade band tries nothing.

Rates. Each part has its own: after an update that moved it by more than 1.5 times `target_kl` it
is divided by 1.5, by less than 1/1.5 of it multiplied, within `rate_bounds`; the encoder's goes
by the head that moved most.

Sources: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", the clipped loss, and
its adaptive KL rule, used on the rates in place of the penalty; Yu et al. 2022, "The Surprising
Effectiveness of PPO in Cooperative Multi-Agent Games", one critic for several actors; Hollenstein
et al. 2024, "Colored Noise in PPO", noise with a memory, here of the first order. Departures: no
value clipping; a group of the micro policy counts as an actor of its own, because a ratio of
fifty instruments' noise leaves the clip range at once. Neither mixed precision nor torch.compile:
at these sizes, on a CPU, neither pays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from agents.allocator.networks import BottomNet, SetEncoder, TopNet
from agents.allocator.observation import top_budgets, unflatten
from agents.allocator.policy_file import GRAPH_FILE, save_policy
from agents.arrays import Float32Array, FloatArray
from config.allocator import EpisodeSettings, JointSettings, RewardSettings
from config.errors import ConfigError, Halt
from config.settings import Settings
from learning.allocator.evaluation.policy_paths import run_policy, tiered_act
from learning.allocator.training import checkpoints
from learning.allocator.training.joint.curriculum import Curriculum
from learning.allocator.training.joint.joint_net import (
    ENCODER,
    REGIME,
    TOP,
    Former,
    SharedNet,
    View,
    bottom_policies_by_group,
    trained_card,
    view,
)
from learning.allocator.training.joint.pcgrad import (
    conflict_share,
    flat,
    project_conflicts,
    unflat,
)
from learning.allocator.training.phase_results import (
    CHECKPOINTS,
    CURVE_FILE,
    LOGS,
    PhaseResult,
    write_curve,
    write_result,
)
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Split, Window
from learning.envs.environments import Arena, JointEnvironment

RATE_STEP = 1.5
LOG_TWO_PI = math.log(2.0 * math.pi)

type Row = dict[str, float]
type Progress = Callable[[Row], None]


def train_joint(
    book: Dataset,
    split: Split,
    top_folder: Path,
    bottom_folders: Mapping[str, Path],
    settings: Settings,
    joint: JointSettings,
    reward: RewardSettings,
    episode: EpisodeSettings,
    folder: Path,
    *,
    seed: int,
    timesteps: int | None = None,
    crises: Sequence[Window] = (),
    embeddings: Float32Array | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> PhaseResult:
    """
    Train both tiers together and export the best of it by validation Sharpe.

    `bottom_folders` name the earlier bottoms by group, or the one for any group by "*".
    `crises` are windows of the book's generated markets (`with_crises`); `embeddings`
    (M, T, G, E) go with a top policy that takes them. Checkpoints, logs, the curve, the result
    and the policies ("top", "bottom-<group>" or "bottom") go into `folder`; `resume` goes on from
    its newest checkpoint and ends as a run that was never stopped.
    Raises ConfigError where the earlier policies do not fit, or a checkpoint is another run's or
    cannot be written, Halt where a number is not finite.
    """
    former = Former(book, top_folder, bottom_folders)
    if former.top_card.embeddings != (embeddings is not None):
        raise ConfigError(
            f"expected embeddings as {former.top_card.name!r} takes them, "
            f"was {'some' if embeddings is not None else 'none'}"
        )
    arena = Arena(
        book=book,
        windows=split.train,
        reference=split.train,
        norm=former.top_card.normaliser,
        settings=settings,
        reward=reward,
        episode=episode,
    )
    with _one_thread(), _writing(folder):
        trainer = _Trainer(arena, split.validation, former, joint, crises, embeddings, seed)
        steps = joint.timesteps if timesteps is None else timesteps
        result = trainer.run(folder, steps, resume=resume, progress=progress)
    return result


@dataclass(frozen=True)
class Rollout:
    """
    S sessions of play, flattened: of one rollout, or of several in a row.

    The present top played those from row `fresh` on; the bottoms are the same in all.

    Shapes: `actions` and `log_probs` by head, the top first: (S, G) and (S, 1) of the top, (S, n)
    and (S, groups) of a bottom; advantages, returns (S,); labels (S,), -1 where unknown.
    """

    view: View
    actions: list[Tensor]
    log_probs: list[Tensor]
    advantages: Tensor
    returns: Tensor
    labels: Tensor
    fresh: int = 0

    @classmethod
    def joined(cls, parts: Sequence[Rollout]) -> Rollout:
        """Return rollouts in a row; the present top played the last."""

        def heads(lists: Iterable[list[Tensor]]) -> list[Tensor]:
            return [torch.cat(head) for head in zip(*lists, strict=True)]

        return cls(
            view=_stacked([part.view for part in parts]),
            actions=heads(part.actions for part in parts),
            log_probs=heads(part.log_probs for part in parts),
            advantages=torch.cat([part.advantages for part in parts]),
            returns=torch.cat([part.returns for part in parts]),
            labels=torch.cat([part.labels for part in parts]),
            fresh=sum(len(part.returns) for part in parts[:-1]),
        )


class Critic(nn.Module):
    """The worth of a book at a session, to all heads alike: (B,)."""

    def __init__(self, rows: int, market: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.encoder = SetEncoder(rows, market, hidden)
        self.value = nn.Linear(self.encoder.width, 1)

    def forward(self, seen: View) -> Tensor:
        """Return the values."""
        value: Tensor = self.value(self.encoder(seen.top, seen.market).mean(dim=1))
        return value.squeeze(-1)


class CurriculumEnvironment(JointEnvironment):
    """The joint form with its episodes drawn by a curriculum."""

    def __init__(self, arena: Arena, batch: int, seed: int, curriculum: Curriculum) -> None:
        super().__init__(arena, batch, seed)
        self._sampler = curriculum


class _Trainer:
    """The learner and all that a checkpoint has to hold of it."""

    def __init__(
        self,
        arena: Arena,
        validation: Sequence[Window],
        former: Former,
        joint: JointSettings,
        crises: Sequence[Window],
        embeddings: Float32Array | None,
        seed: int,
    ) -> None:
        self.arena, self.validation, self.former, self.joint = arena, validation, former, joint
        self.embeddings, self.seed = embeddings, seed
        self.layout = former.layout
        self.n = len(arena.book.symbols)
        self.curriculum = Curriculum(
            arena.book, arena.windows, joint.curriculum, arena.episode, crises
        )
        self.environment: JointEnvironment = CurriculumEnvironment(
            arena, joint.envs, seed, self.curriculum
        )
        self.rng = np.random.default_rng([seed, 1])  # exploration, minibatches, projection
        torch.manual_seed(seed)
        self.net = SharedNet(former, joint.first_std, joint.move_std)
        self.critic = Critic(self.net.wide, self.net.encoder.market, former.top_card.hidden)
        self.parts = self.net.parts
        self.learned = [*self.parts]  # the regime only where the top was taught it
        if not former.top_card.regimes:
            self.learned.remove(REGIME)
        self.rates = dict.fromkeys(self.learned, joint.learning_rate)
        self.optimizer = torch.optim.Adam(
            [{"params": self.parts[part], "name": part} for part in self.learned]
            + [{"params": list(self.critic.parameters()), "name": "critic"}],
            lr=joint.learning_rate,
            eps=1e-5,
        )
        sizes = [self.layout.groups, *(len(members) for members in self.net.members)]
        self.noise: list[Float32Array] = [
            self.rng.standard_normal((joint.envs, size), dtype=np.float32) for size in sizes
        ]
        self.observation: Float32Array = np.empty(0, np.float32)
        self.updates = 0
        self.waiting: list[Rollout] = []  # for the bottoms' next turn
        self.curve: list[Row] = []
        self.seconds = dict.fromkeys(("environment", "rollout", "update", "validation"), 0.0)
        self.former_sharpe = math.nan  # of the earlier policies, on validation

    @property
    def steps(self) -> int:
        """How many environment steps were taken."""
        return self.updates * self.joint.envs * self.joint.rollout_steps

    # --- the whole run -------------------------------------------------------------------------

    def run(
        self, folder: Path, timesteps: int, *, resume: bool, progress: Progress | None
    ) -> PhaseResult:
        """Train for `timesteps`, up to a whole rollout, and export the best."""
        from torch.utils.tensorboard import SummaryWriter

        store = folder / CHECKPOINTS
        meta = self._meta(timesteps)
        found = checkpoints.latest(store) if resume else None
        if found is not None:
            checkpoints.check_same_run(folder, found.meta, meta)
            self._restore(found.state)
        else:
            for old in store.glob(checkpoints.PATTERN):
                old.unlink()
            self.former_sharpe = self._sharpe(self.former.top_net, self.former.nets)
            self.observation = self.environment.reset()
            self._save(store, meta, self.former_sharpe)
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
                if progress is not None:
                    progress(row)
        finally:
            logs.close()
        return self._finish(folder, () if found is None else found.notes)

    def _train_once(self) -> Row:
        """Play one rollout and learn from it; return the curve's row."""
        parts = self._turn()
        level = self.curriculum.level
        began = time.perf_counter()
        before = self.seconds["environment"]
        rollout, played = self._play()
        middle = time.perf_counter()
        self.seconds["rollout"] += middle - began - (self.seconds["environment"] - before)
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

    # --- rollout -------------------------------------------------------------------------------

    def _act(
        self, environment: JointEnvironment, observation: Float32Array
    ) -> tuple[View, list[Tensor], list[Tensor], Tensor]:
        """
        Let the top act, then the bottoms on what it gave them, all with exploration noise.

        Return the view with the budgets, actions and means by head (the top first), and labels.
        """
        book, twin = self.arena.book, environment.twin
        extra = None if self.embeddings is None else self.embeddings[twin.market, twin.t]
        seen = view(unflatten(observation, self.n), extra, self.layout)
        with torch.no_grad():
            means = [self.net.top(seen)[0]]
            actions = [self._explore(0, means[0])]
            budgets = top_budgets(actions[0].numpy(), environment.gross)
            seen = seen.with_budgets(torch.from_numpy(budgets).float(), self.layout.group)
            for h in range(len(self.layout.heads)):
                means.append(self.net.bottom(seen, h))
                actions.append(self._explore(h + 1, means[-1]))
        labels = torch.from_numpy(book.truth[twin.market, twin.t])
        return seen, actions, means, labels

    def _explore(self, head: int, means: Tensor) -> Tensor:
        """Return a head's actions: its means and the next of its noise, of deviation `spread`."""
        moves = head > 0 and self.layout.holds[head - 1]  # the book is such a head's memory
        memory = 0.0 if moves else self.joint.noise_memory
        fresh = self.rng.standard_normal(means.shape, dtype=np.float32)
        self.noise[head] = memory * self.noise[head] + math.sqrt(1.0 - memory**2) * fresh
        return means + self._spread(head).exp() * torch.from_numpy(self.noise[head])

    def _play(self) -> tuple[Rollout, Row]:
        """Play `rollout_steps` sessions of every environment with the present policies."""
        j, environment = self.joint, self.environment
        shape = (j.rollout_steps, j.envs)
        rewards, values, done = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
        sums = {"reward": 0.0, "limits_hit": 0.0, "turnover": 0.0, "loss_beyond_limit": 0.0}
        seen_all, actions_all, means_all, labels_all = [], [], [], []
        for t in range(j.rollout_steps):
            seen, actions, means, labels = self._act(environment, self.observation)
            market, session = environment.twin.market.copy(), environment.twin.t.copy()
            began = time.perf_counter()
            self.observation, reward, terminated, truncated, info = environment.step(
                _joined(actions, self)
            )
            self.seconds["environment"] += time.perf_counter() - began
            with torch.no_grad():
                values[t] = self.critic(seen).numpy()
            rewards[t], done[t] = reward, terminated | truncated
            if truncated.any():  # what was cut off goes on being worth something
                last = info["terminal_observation"][truncated]
                rewards[t, truncated] += j.gamma * self._value(
                    last, market[truncated], session[truncated] + 1
                )
            sums["reward"] += float(info["reward"].mean())
            sums["limits_hit"] += float(info["limited"].mean())
            sums["turnover"] += float(info["turnover"].mean())
            sums["loss_beyond_limit"] += float(info["loss_beyond_limit"].mean())
            seen_all.append(seen)
            actions_all.append(actions)
            means_all.append(means)
            labels_all.append(labels)
        following = self._value(self.observation, environment.twin.market, environment.twin.t)
        advantages = gae(rewards, values, done, following, j.gamma, j.gae_lambda)
        actions = [torch.cat(head) for head in zip(*actions_all, strict=True)]
        means = [torch.cat(head) for head in zip(*means_all, strict=True)]
        flat_advantages = torch.from_numpy(advantages.reshape(-1)).float()
        returns = flat_advantages + torch.from_numpy(values.reshape(-1)).float()
        with torch.no_grad():
            log_probs = [
                self._log_probs(head, means[head], actions[head]) for head in range(len(actions))
            ]
        rollout = Rollout(
            view=_stacked(seen_all),
            actions=actions,
            log_probs=log_probs,
            advantages=(flat_advantages - flat_advantages.mean()) / (flat_advantages.std() + 1e-8),
            returns=returns,
            labels=torch.cat(labels_all),
        )
        return rollout, {name: value / j.rollout_steps for name, value in sums.items()}

    def _value(
        self, observation: Float32Array, market: NDArray[np.int64], session: NDArray[np.int64]
    ) -> FloatArray:
        extra = None if self.embeddings is None else self.embeddings[market, session]
        seen = view(unflatten(observation, self.n), extra, self.layout)
        with torch.no_grad():
            return np.asarray(self.critic(seen).numpy(), dtype=np.float64)

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
        with torch.no_grad():  # the encoder stands still without the bottoms
            code = None if full else self.net.encode_top(rollout.view)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates.get(group["name"], j.learning_rate)
        for epoch in range(j.epochs):
            minibatches = self._minibatches(len(rollout.returns))
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
                told = functional.cross_entropy(logits[known], labels[known])
                found[REGIME] = j.regime_coef * told, 0.0
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
        log_probs = self._log_probs(head, means, rollout.actions[head][rows])
        log_ratio = log_probs - rollout.log_probs[head][rows]
        ratio = log_ratio.exp()
        advantage = rollout.advantages[rows].unsqueeze(-1)
        gain = torch.minimum(
            ratio * advantage, ratio.clamp(1.0 - j.clip, 1.0 + j.clip) * advantage
        )
        count = max(1, gain.numel())  # a minibatch of rollouts in a row may have no fresh session
        loss = -gain.sum() / count - j.entropy_coef * self._spread(head)
        return loss, float((ratio - 1.0 - log_ratio).detach().sum()) / count

    def _spread(self, head: int) -> Tensor:
        return self.net.top_spread if head == 0 else self.net.spreads[head - 1]

    def _log_probs(self, head: int, means: Tensor, actions: Tensor) -> Tensor:
        """Return the actions' log probabilities, summed by group: (S, groups); top: (S, 1)."""
        log_std = self._spread(head)
        each = -0.5 * ((actions - means) / log_std.exp()).square() - log_std - 0.5 * LOG_TWO_PI
        if head == 0:
            return each.sum(dim=-1, keepdim=True)
        groups = self.layout.group[self.net.members[head - 1]]
        own = self.layout.heads[head - 1][1]
        if len(own) == 1:
            return each.sum(dim=-1, keepdim=True)
        return each @ functional.one_hot(groups, self.layout.groups).float()[:, list(own)]

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

    def _minibatches(self, count: int) -> Sequence[Tensor]:
        return torch.split(torch.from_numpy(self.rng.permutation(count)), self.joint.minibatch)

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
        """Stop at the first number that is not finite: nothing after it would be worth having."""
        parameters = [*self.net.parameters(), *self.critic.parameters()]
        finite = all(bool(p.isfinite().all()) for p in parameters)
        if not finite or not np.isfinite(self.observation).all():
            raise Halt(
                "joint training: expected finite weights and observations, "
                f"was NaN or infinite after step {self.steps}"
            )

    # --- validation, checkpoints, result -------------------------------------------------------

    def _sharpe(self, top: TopNet, nets: Sequence[BottomNet]) -> float:
        """Return the portfolio's Sharpe ratio on the validation windows, without exploration."""
        book = self.arena.book
        bottom_policies = bottom_policies_by_group(book, self.layout, nets)
        act = tiered_act(
            book,
            self.arena.norm,
            top,
            bottom_policies,
            self.environment.gross,
            embeddings=self.embeddings,
        )
        return run_policy(book, self.validation, self.arena.settings, act).sharpe

    def _validate(self) -> float:
        began = time.perf_counter()
        sharpe = self._sharpe(*self.net.export())
        self.seconds["validation"] += time.perf_counter() - began
        return sharpe

    def _meta(self, timesteps: int) -> dict[str, Any]:
        """Return what makes this run this run, as JSON gives it back, for a resume to compare."""
        said = {
            "settings": [self.arena.settings, self.joint, self.arena.reward, self.arena.episode],
            "book": self.arena.book.digest,
            "former": self.former.digests,
            "seed": self.seed,
            "timesteps": timesteps,
        }
        meta: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(said))
        return meta

    def _save(self, store: Path, meta: dict[str, Any], score: float) -> None:
        state = {
            "net": self.net.state_dict(),
            "critic": self.critic.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rates": self.rates,
            "form": self.environment.state(),
            "observation": self.observation,
            "noise": self.noise,
            "curriculum": self.curriculum.state(),
            "generators": checkpoints.generator_states(learner=self.rng),
            "updates": self.updates,
            "waiting": [asdict(rollout) for rollout in self.waiting],
            "curve": self.curve,
            "seconds": self.seconds,
            "former_sharpe": self.former_sharpe,
        }
        checkpoints.save_checkpoint(store, self.steps, state, meta, score=score)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rates = state["rates"]
        self.environment.restore(state["form"])
        self.observation, self.noise = state["observation"], state["noise"]
        self.curriculum.restore(state["curriculum"])
        checkpoints.restore_generators(state["generators"], learner=self.rng)
        self.updates, self.curve = state["updates"], state["curve"]
        self.waiting = [
            Rollout(**rollout | {"view": View(**rollout["view"])}) for rollout in state["waiting"]
        ]
        self.seconds, self.former_sharpe = state["seconds"], state["former_sharpe"]

    def _finish(self, folder: Path, notes: tuple[str, ...]) -> PhaseResult:
        """Export the best, which may be what the phase was given, and write the summary."""
        chosen = checkpoints.best(folder / CHECKPOINTS)
        cards = [self.former.top_card, *self.former.cards]
        if chosen is not None and chosen.score is not None and chosen.score > self.former_sharpe:
            self.net.load_state_dict(chosen.state["net"])
            top, bottom_policies = self.net.export()
            hidden = self.net.encoder.hidden
            cards = [
                trained_card(card, hidden=hidden, steps=chosen.step, seed=self.seed)
                for card in cards
            ]
            best, step = chosen.score, chosen.step
        else:
            top, bottom_policies = self.former.top_net, self.former.nets
            best, step = self.former_sharpe, 0
            notes += ("no joint policy was better on validation: the earlier phase's stand",)
        graph = self.former.top_folder / GRAPH_FILE if cards[0].embeddings else None
        policies = {}
        nets: list[TopNet | BottomNet] = [top, *bottom_policies]
        for net, card in zip(nets, cards, strict=True):
            save_policy(folder / card.slot, net, card, graph if card.kind == "top" else None)
            policies[card.slot] = card.slot
        shares = [row["conflict_share"] for row in self.curve]
        known = [share for share in shares if math.isfinite(share)]
        result = PhaseResult(
            phase="joint",
            folder=str(folder),
            steps=self.steps,
            seconds=self.seconds,
            measures={
                "former_sharpe": self.former_sharpe,
                "validation_sharpe": best,
                "best_step": float(step),
                "conflict_share": float(np.mean(known)) if known else 0.0,
                "level": float(self.curriculum.level),
            },
            policies=policies,
            notes=notes,
        )
        write_curve(folder / CURVE_FILE, self.curve)
        write_result(result)
        return result


def gae(
    rewards: FloatArray,
    values: FloatArray,
    done: NDArray[np.bool_],
    following: FloatArray,
    gamma: float,
    lam: float,
) -> FloatArray:
    """
    Return generalised advantages.

    `done[t]` says that the episode ended with step t, `following` is the value after the last.
    Shapes: (T, B), following (B,) -> (T, B).
    Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized
    Advantage Estimation", eq. 16.
    """
    advantages = np.zeros_like(rewards)
    ahead, carried = following, np.zeros_like(following)
    for t in range(len(rewards) - 1, -1, -1):
        going = 1.0 - done[t]
        error = rewards[t] + gamma * going * ahead - values[t]
        carried = error + gamma * lam * going * carried
        advantages[t], ahead = carried, values[t]
    return advantages


def _joined(actions: Sequence[Tensor], trainer: _Trainer) -> Float32Array:
    """Return the form's action, (B, N + G): every instrument's, then the groups'."""
    top, *bottom_policies = actions
    joined = np.empty((len(top), trainer.n + top.shape[1]), dtype=np.float32)
    for members, action in zip(trainer.net.members, bottom_policies, strict=True):
        joined[:, members.numpy()] = action.numpy()
    joined[:, trainer.n :] = top.numpy()
    return joined


def _stacked(views: Sequence[View]) -> View:
    return View(
        rows=torch.cat([v.rows for v in views]),
        means=torch.cat([v.means for v in views]),
        market=torch.cat([v.market for v in views]),
        extra=torch.cat([v.extra for v in views]),
    )


def _assign(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make one error of a curve, a log or a policy that cannot be written, as on a full disk."""
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
