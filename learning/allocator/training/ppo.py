"""
PPO in an environment: stable-baselines3's learner around the networks that trade.

The actor is the network of `agents.allocator.networks` itself, so that what is exported is what
was trained. Between updates the learner is checkpointed whole - weights, optimiser, every
generator, the episodes under way - and validated; a run that is resumed ends with the weights of
one that was never stopped. The policy that is handed back is the best by validation Sharpe, not
the last: at worst the one that came. The learner stops with a Halt at the first number that is not
finite.

Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms". Departures: a critic of
its own that pools the set before its last layer, and exploration noise that no state changes.
It knows neither groups nor what folders mean; `specialists` and `meta` do.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from agents.allocator.networks import BottomNet, SetEncoder, TopNet
from config.errors import Halt
from learning.allocator.training import checkpoints
from learning.allocator.training.phase_results import CHECKPOINTS, CURVE_FILE, LOGS, write_curve
from learning.allocator.training.training_run import TrainingRun
from learning.envs.environments import Environment
from learning.envs.vec_env import TwinVecEnv

ADAM_EPS = 1e-5  # stable-baselines3's own for PPO

type Row = dict[str, float]


@dataclass(frozen=True)
class Learned:
    """
    What training left: the best actor, its validation Sharpe and when it was had.

    `seconds` are by part, of this process alone: what ran before a resume is not in it.
    """

    actor: BottomNet | TopNet
    best_sharpe: float
    best_step: int
    steps: int
    seconds: dict[str, float]
    curve: list[Row]


class SetPolicy(ActorCriticPolicy):
    """
    stable-baselines3's policy of a set network and a critic beside it.

    An observation is n rows of D numbers, then C of the market; `actor` is used as it is.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Box,
        lr_schedule: Callable[[float], float],
        *,
        actor: BottomNet | TopNet,
        exploration_std: float,
        **kwargs: Any,
    ) -> None:
        self._given = actor, exploration_std
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        actor, std = self._given
        del self._given  # modules are kept by name, below
        encoder = actor.encoder
        (count,) = cast(spaces.Box, self.action_space).shape
        self.shape = (count, encoder.rows, encoder.market)
        self.actor = actor
        self.critic = SetEncoder(encoder.rows, encoder.market, encoder.hidden)
        self.value = nn.Linear(self.critic.width, 1)
        nn.init.orthogonal_(self.value.weight)
        nn.init.zeros_(self.value.bias)
        self.log_std = nn.Parameter(torch.full((count,), float(np.log(std))))
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1), eps=ADAM_EPS)

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions, values and the actions' log probabilities."""
        rows, market = self._split(obs)
        noise = self._noise(rows, market)
        actions = noise.get_actions(deterministic=deterministic)
        return actions, self._value(rows, market), noise.log_prob(actions)

    def evaluate_actions(  # type: ignore[override]  # observations are never dicts here
        self, obs: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return values, the actions' log probabilities and the entropy."""
        rows, market = self._split(obs)
        noise = self._noise(rows, market)
        return self._value(rows, market), noise.log_prob(actions), noise.entropy()

    def get_distribution(self, obs: Tensor) -> Distribution:  # type: ignore[override]
        """Return the distribution of actions."""
        return self._noise(*self._split(obs))

    def predict_values(self, obs: Tensor) -> Tensor:  # type: ignore[override]
        """Return the values."""
        return self._value(*self._split(obs))

    def _split(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        n, rows, _ = self.shape
        return obs[:, : n * rows].reshape(-1, n, rows), obs[:, n * rows :]

    def _noise(self, rows: Tensor, market: Tensor) -> Distribution:
        means = self.actor(rows, market)
        if isinstance(means, tuple):  # a top policy's; the regime's logits have no part in this
            means = means[0]
        return self.action_dist.proba_distribution(means, self.log_std)

    def _value(self, rows: Tensor, market: Tensor) -> Tensor:
        value: Tensor = self.value(self.critic(rows, market).mean(dim=1))
        return value


def train_ppo(
    run: TrainingRun,
    environment: Environment,
    actor: BottomNet | TopNet,
    validate: Callable[[BottomNet | TopNet], float],
    *,
    timesteps: int,
    meta: Mapping[str, Any],
) -> Learned:
    """
    Train `actor` in place for `timesteps` (up to a whole rollout) and return the best of it.

    `meta` is plain JSON that says what run this is; a resume compares it. `validate` draws
    nothing and returns a Sharpe ratio.
    Raises ConfigError where a checkpoint cannot be written or is another run's, Halt where a
    reward, an observation or a weight is not finite.
    """
    settings, folder = run.settings.ppo, run.folder
    learner = _Learner(
        SetPolicy,
        TwinVecEnv(environment),
        learning_rate=settings.learning_rate,
        n_steps=settings.n_steps,
        batch_size=settings.batch_size,
        n_epochs=settings.epochs,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip,
        ent_coef=settings.entropy_weight,
        vf_coef=settings.value_weight,
        max_grad_norm=settings.max_grad_norm,
        policy_kwargs={"actor": actor, "exploration_std": settings.exploration_std},
        seed=run.seed,
        device="cpu",
    )
    watch = _Watch(run, environment, actor, validate, meta)
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / CHECKPOINTS
    found = checkpoints.latest(store) if run.resume else None
    if found is not None:
        checkpoints.check_same_run(store, found.meta, meta)
        watch.restore(learner, found.state)
    else:
        watch.begin()
    logs = TensorBoardOutputFormat(str(folder / LOGS))
    learner.set_logger(Logger(str(folder), [logs]))
    try:
        left = timesteps - learner.num_timesteps
        if left > 0:
            learner.learn(left, watch, reset_num_timesteps=found is None)
            watch.after_update(last=True)
    finally:
        logs.close()
    write_curve(folder / CURVE_FILE, watch.curve)
    actor.load_state_dict(watch.best)
    return Learned(
        actor=actor.eval(),
        best_sharpe=watch.best_sharpe,
        best_step=watch.best_step,
        steps=learner.num_timesteps,
        seconds=watch.seconds(learner),
        curve=watch.curve,
    )


class _Learner(PPO):
    """PPO that keeps the time of its two halves."""

    collected = updated = 0.0

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        start = time.perf_counter()
        going: bool = super().collect_rollouts(*args, **kwargs)
        self.collected += time.perf_counter() - start
        return going

    def train(self) -> None:
        start = time.perf_counter()
        super().train()
        self.updated += time.perf_counter() - start


class _Watch(BaseCallback):
    """
    What happens between updates: the curve, validation, checkpoints, and the guard.

    A rollout's start is the one place where no work is half done, so that is where a checkpoint
    is taken.
    """

    def __init__(
        self,
        run: TrainingRun,
        environment: Environment,
        actor: BottomNet | TopNet,
        validate: Callable[[BottomNet | TopNet], float],
        meta: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._run, self._environment, self._actor = run, environment, actor
        self._validate, self._meta = validate, meta
        self.curve: list[Row] = []
        self.best = checkpoints.weights(actor)
        self.best_sharpe, self.best_step = -np.inf, 0
        self._sums = np.zeros(3)  # reward, limits hit, turnover
        self._count = self._updates = 0
        self._validated = 0.0  # seconds

    def begin(self) -> None:
        """Take the policy as it comes for the best so far."""
        self.best_sharpe = self._validate(self._actor)

    def _on_step(self) -> bool:
        rewards, last = self.locals["rewards"], cast(TwinVecEnv, self.training_env).last
        if not (np.isfinite(rewards).all() and np.isfinite(self.locals["new_obs"]).all()):
            raise Halt(
                f"{self._run.folder.name}: expected finite rewards and observations, "
                f"was NaN or infinite at step {self.num_timesteps}"
            )
        self._sums += last["reward"].sum(), last["limited"].sum(), last["turnover"].sum()
        self._count += len(rewards)
        return True

    def _on_rollout_end(self) -> None:
        reward, limits, turnover = self._sums / self._count
        self.logger.record("rollout/reward", reward)
        self.logger.record("rollout/limits_hit", limits)
        self.logger.record("rollout/turnover", turnover)
        self._row: Row = {
            "steps": float(self.num_timesteps),
            "reward": float(reward),
            "limits_hit": float(limits),
            "turnover": float(turnover),
        }
        self._sums, self._count = np.zeros(3), 0

    def _on_rollout_start(self) -> None:
        if self._updates:
            self.after_update()
        self._updates += 1

    def after_update(self, *, last: bool = False) -> None:
        """Guard, note and, where it is time, validate and checkpoint."""
        if not all(p.isfinite().all() for p in self.model.policy.parameters()):
            raise Halt(
                f"{self._run.folder.name}: expected finite weights, was NaN or infinite "
                f"after step {self.num_timesteps}"
            )
        values = self.logger.name_to_value
        row = self._row | {
            "loss": float(values["train/loss"]),
            "entropy": -float(values["train/entropy_loss"]),
            "kl": float(values["train/approx_kl"]),
            "std": float(values["train/std"]),
            "validation_sharpe": np.nan,
        }
        due = last or len(self.curve) % self._run.settings.ppo.checkpoint_every == 0
        if due:
            start = time.perf_counter()
            row["validation_sharpe"] = sharpe = self._validate(self._actor)
            self._validated += time.perf_counter() - start
            self.logger.record("validation/sharpe", sharpe)
            if sharpe > self.best_sharpe:
                self.best_sharpe, self.best_step = sharpe, self.num_timesteps
                self.best = checkpoints.weights(self._actor)
        self.curve.append(row)
        if due:
            checkpoints.save_checkpoint(
                self._run.folder / CHECKPOINTS,
                self.num_timesteps,
                self._state(),
                self._meta,
                score=row["validation_sharpe"],
            )
            write_curve(self._run.folder / CURVE_FILE, self.curve)
        if last:
            self.logger.dump(self.num_timesteps)
        self._run.progress(self.num_timesteps, row)

    def seconds(self, learner: _Learner) -> dict[str, float]:
        """Return the wall time by part; a rollout's is without the environment's."""
        environment = cast(TwinVecEnv, learner.get_env()).seconds
        return {
            "environment": environment,
            "rollout": learner.collected - environment,
            "update": learner.updated,
            "validation": self._validated,
        }

    def _state(self) -> dict[str, Any]:
        model = self.model
        return {
            "policy": model.policy.state_dict(),
            "optimizer": model.policy.optimizer.state_dict(),
            "environment": self._environment.state(),
            "generators": checkpoints.generator_states(),
            "shuffle": np.random.get_state(),  # noqa: NPY002 - stable-baselines3's own
            "timesteps": model.num_timesteps,
            "updates": model._n_updates,
            "observations": model._last_obs,
            "starts": model._last_episode_starts,
            "curve": self.curve,
            "best": self.best,
            "best_sharpe": self.best_sharpe,
            "best_step": self.best_step,
        }

    def restore(self, model: PPO, state: Mapping[str, Any]) -> None:
        """Put a fresh learner where a checkpoint's was."""
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        self._environment.restore(state["environment"])
        checkpoints.restore_generators(state["generators"])
        np.random.set_state(state["shuffle"])  # noqa: NPY002
        model.num_timesteps, model._n_updates = state["timesteps"], state["updates"]
        model._last_obs, model._last_episode_starts = state["observations"], state["starts"]
        self.curve, self.best = state["curve"], state["best"]
        self.best_sharpe, self.best_step = state["best_sharpe"], state["best_step"]
