"""
TD3 with hindsight experience replay for the micro policy: stable-baselines3 on our market.

Starts from the pre-trained micro network. Goals come from the pre-trained macro policy for a share
of the episodes and at random for the rest. Of five transitions that an update sees, four have
another goal put in hindsight, one that the same episode did reach later; what the session earned
stays as it was (`GoalVecEnv.compute_reward`).

Departures from the papers. Exploration noise has a part that a sector's stocks share, for
independent noises hardly move a sum, and the goal is about sums. The replay buffer keeps no
features (`learning.envs.goal_env`), so a checkpoint holds all of it, and a run that was killed
goes on bit for bit. What is exported is the checkpoint whose policy did best on the validation
windows, the untrained start included.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from agents.allocator.graph import load_graph
from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import group_means, observe, top_budgets
from agents.allocator.policy_file import (
    ANY_GROUP,
    GRAPH_FILE,
    load_policy,
    save_policy,
)
from agents.arrays import FloatArray
from config.allocator import HerSettings
from config.errors import ConfigError
from config.settings import Settings
from learning.allocator.training.checkpoints import (
    check_same_run,
    generator_states,
    latest,
    restore_generators,
    save_checkpoint,
    weights,
)
from learning.allocator.training.equity.micro import bottom_card
from learning.allocator.training.equity.td3_policy import SessionInputs, StockActor, StockPolicy
from learning.allocator.training.phase_results import (
    CHECKPOINTS,
    CURVE_FILE,
    LOGS,
    PhaseResult,
    identity,
    training_record,
    write_curve,
    write_result,
)
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Split, Window
from learning.envs.goal_env import GoalMarket, GoalVecEnv

PHASE = "micro-her"
REPORTS = 20  # points of a learning curve
EVAL_EPISODES = 16
CHUNK = 256  # sessions that a macro policy is asked for at once
BUFFER_ARRAYS = ("actions", "rewards", "dones", "timeouts", "ep_start", "ep_length")


class SectorNoise(VectorizedActionNoise):
    """Gaussian noise of actions, half of its variance common to a sector's stocks."""

    def __init__(
        self, group: NDArray[np.int64], envs: int, deviation: float, rng: np.random.Generator
    ) -> None:
        super().__init__(NormalActionNoise(np.zeros(len(group)), np.ones(len(group))), envs)
        self._group, self._deviation, self.rng = group, deviation, rng

    def __call__(self) -> NDArray[np.float64]:
        """Return noise. Shape: (B, N)."""
        common = self.rng.normal(size=(self.n_envs, int(self._group.max()) + 1))
        own = self.rng.normal(size=(self.n_envs, len(self._group)))
        scale = self._deviation / np.sqrt(2.0)
        return np.asarray(scale * (common[:, self._group] + own))


class MicroTD3(TD3):
    """TD3 that names what is its own here, and knows how long its updates took."""

    noise: SectorNoise
    goal_env: GoalVecEnv
    update_seconds = 0.0

    @property
    def stocks(self) -> StockActor:
        """The actor."""
        actor: Any = self.actor
        assert isinstance(actor, StockActor)
        return actor

    @property
    def net(self) -> BottomNet:
        """The network that trades."""
        return self.stocks.bottom.net

    @property
    def hindsight(self) -> HerReplayBuffer:
        """The replay buffer."""
        assert isinstance(self.replay_buffer, HerReplayBuffer)
        return self.replay_buffer

    def start_from(self, net: BottomNet) -> None:
        """Take a network's weights into the actor and its target."""
        target: Any = self.actor_target
        self.net.load_state_dict(net.state_dict())
        target.bottom.net.load_state_dict(net.state_dict())

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Update, and add up the time."""
        started = time.perf_counter()
        super().train(gradient_steps, batch_size)
        self.update_seconds += time.perf_counter() - started


def train_micro_her(
    book: Dataset,
    split: Split,
    micro_folder: Path,
    macro_folder: Path | None,
    settings: HerSettings,
    folder: Path,
    *,
    trading: Settings,
    timesteps: int | None = None,
    seed: int,
    resume: bool = False,
    progress: Callable[[int, Mapping[str, float]], None] | None = None,
) -> PhaseResult:
    """
    Train the micro policy to reach its goals and to earn while it does; export the best.

    `micro_folder` and `macro_folder` are policy folders; `trading` holds the rules of the market,
    the limits and the desk. `progress` is told the steps so far and the last curve row. `folder`
    comes to hold the policy ("bottom"), checkpoints, the curve, TensorBoard scalars and the
    summary.
    Raises ConfigError where a policy does not fit the book, `resume` finds another run's
    checkpoint, too few steps are asked for, or the disk is full.
    """
    started = time.perf_counter()
    timesteps = timesteps or settings.timesteps
    net, card = load_policy(micro_folder)
    if not isinstance(net, BottomNet) or card.group != ANY_GROUP or card.groups != book.groups:
        raise ConfigError(
            f"{micro_folder}: expected a micro policy of {', '.join(book.groups)}, "
            f"was {card.name!r}"
        )
    table = None if macro_folder is None else goal_table(book, macro_folder, trading)
    market = GoalMarket(
        book, trading, settings, split.train, batch=settings.envs, seed=seed, goals=table
    )
    held_out = Judge(book, split.validation, settings, trading, table)
    model = make_model(market, SessionInputs(book, card.normaliser), settings, seed)
    model.start_from(net)
    model.set_logger(configure(str(folder / LOGS), ["tensorboard"]))
    meta = identity(PHASE, book, split, seed) | {
        "settings": msgspec.to_builtins(settings),
        "trading": trading.digest,
        "timesteps": timesteps,
        "micro": card.digest,
    }
    run = Run(model, market, held_out, settings, folder, meta, timesteps, progress)
    if not (resume and run.resume()):
        run.judge()
    if model.num_timesteps < timesteps:
        model.learn(
            timesteps - model.num_timesteps,
            callback=run,
            reset_num_timesteps=False,
            log_interval=sys.maxsize,
        )
        run.finish()
    model.net.load_state_dict(run.best)
    record = training_record(book, split, model.num_timesteps, seed)
    card = bottom_card(book, card.normaliser, record, "micro-her")
    save_policy(folder / card.slot, model.net, card)
    measures = {f"validation_{k}": v for k, v in held_out.measure(model.stocks).items()}
    measures |= {f"start_{k}": v for k, v in run.start.items()}
    measures |= {f"random_{k}": v for k, v in held_out.measure(None).items()}
    test = Judge(book, split.test, settings, trading, table)
    measures |= {f"test_{k}": v for k, v in test.measure(model.stocks).items()}
    measures["best_step"] = float(run.best_step)
    seconds = run.seconds()
    seconds["rest"] = time.perf_counter() - started - sum(seconds.values())
    result = PhaseResult(
        phase=PHASE,
        folder=str(folder),
        steps=model.num_timesteps,
        seconds=seconds,
        measures=measures,
        policies={card.slot: card.slot},
    )
    write_result(result)
    return result


def make_model(
    market: GoalMarket, inputs: SessionInputs, settings: HerSettings, seed: int
) -> MicroTD3:
    """
    Return the untrained learner.

    Raises ConfigError where updates would begin before an episode has ended.
    """
    least = market.sampler.sessions * market.batch
    if settings.learning_starts < least:
        raise ConfigError(
            f"her.learning_starts: expected at least {least} steps, the first episode of each "
            f"environment, was {settings.learning_starts}"
        )
    group = inputs.group.numpy()
    noise = SectorNoise(
        group, market.batch, settings.exploration_noise, np.random.default_rng([seed, 1])
    )
    env = GoalVecEnv(market)
    model = MicroTD3(
        StockPolicy,
        env,
        learning_rate=settings.learning_rate,
        buffer_size=settings.buffer_size,
        learning_starts=settings.learning_starts,
        batch_size=settings.batch_size,
        tau=settings.tau,
        gamma=settings.gamma,
        train_freq=settings.train_every,
        gradient_steps=settings.gradient_steps,
        action_noise=noise,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={
            "n_sampled_goal": settings.hindsight_goals,
            "goal_selection_strategy": "future",
            "copy_info_dict": True,  # compute_reward finds the net return there
        },
        policy_delay=settings.policy_delay,
        target_policy_noise=settings.target_noise,
        target_noise_clip=settings.target_noise_clip,
        policy_kwargs={
            "inputs": inputs,
            "group": group,
            "critic_hidden": settings.critic_hidden,
        },
        seed=seed,
        device="cpu",
    )
    model.noise, model.goal_env = noise, env
    return model


class Judge:
    """How well a policy reaches goals and earns, on the same episodes whoever is asked."""

    def __init__(
        self,
        book: Dataset,
        windows: Sequence[Window],
        settings: HerSettings,
        trading: Settings,
        table: FloatArray | None,
    ) -> None:
        self._book, self._windows, self._settings = book, windows, settings
        self._trading, self._table = trading, table

    def measure(self, actor: StockActor | None) -> dict[str, float]:
        """Return the means a session of an actor, or of random actions."""
        market = GoalMarket(
            self._book,
            self._trading,
            self._settings,
            self._windows,
            batch=EVAL_EPISODES,
            seed=0,
            goals=self._table,
        )
        rng = np.random.default_rng(0)
        shape = (market.batch, len(market.book.symbols))
        seen, over = market.reset(), False
        while not over:
            if actor is None:
                action = rng.uniform(-1.0, 1.0, shape)
            else:
                with torch.no_grad():
                    tensors = {key: torch.from_numpy(value) for key, value in seen.items()}
                    action = actor(tensors).numpy()
            seen, _, truncated, _ = market.step(action)
            over = bool(truncated.all())
        return market.means()


class Run(BaseCallback):
    """
    A run's progress: curve, scalars, checkpoints, and the best policy so far.

    All of it is done before a rollout, when the last one is stored and learned from, so that a
    run goes on from a checkpoint as if nothing had happened.
    """

    def __init__(
        self,
        model: MicroTD3,
        market: GoalMarket,
        judge: Judge,
        settings: HerSettings,
        folder: Path,
        meta: Mapping[str, Any],
        timesteps: int,
        progress: Callable[[int, Mapping[str, float]], None] | None,
    ) -> None:
        super().__init__()
        self.learner, self.market, self._judge, self._settings = model, market, judge, settings
        self._folder, self._meta, self._progress = folder, dict(meta), progress
        self._report_every = max(timesteps // REPORTS, settings.envs)
        self._reported, self._saved = 0, 0
        self._evaluation_seconds = self._save_seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.start: dict[str, float] = {}
        self.best_reward, self.best_step = -np.inf, 0

    def judge(self) -> dict[str, float]:
        """Measure the present policy on the validation windows, and keep it if it is the best."""
        started = time.perf_counter()
        found = self._judge.measure(self.learner.stocks)
        self.start = self.start or found
        if found["reward"] > self.best_reward:
            self.best_reward, self.best_step = found["reward"], self.learner.num_timesteps
            self.best = weights(self.learner.net)
        self._evaluation_seconds += time.perf_counter() - started
        return found

    def finish(self) -> None:
        """Judge and save the last policy."""
        self._report()
        self._checkpoint()

    def seconds(self) -> dict[str, float]:
        """Return the seconds of this process by part."""
        return {
            "update": self.learner.update_seconds,
            "environment": self.learner.goal_env.seconds,
            "evaluation": self._evaluation_seconds,
            "checkpoint": self._save_seconds,
        }

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.learner.num_timesteps - self._reported >= self._report_every:
            self._report()
        if self.learner.num_timesteps - self._saved >= self._settings.checkpoint_every:
            self._checkpoint()

    def _report(self) -> None:
        learner = self.learner
        self._reported = learner.num_timesteps
        row = {"steps": float(learner.num_timesteps), **self.market.means()}
        for name in ("actor_loss", "critic_loss"):
            row[name] = float(learner.logger.name_to_value.get(f"train/{name}", np.nan))
        row |= {f"validation_{k}": v for k, v in self.judge().items()}
        self.curve.append(row)
        for name, value in row.items():
            learner.logger.record(f"micro_her/{name}", value)
        learner.logger.dump(learner.num_timesteps)
        write_curve(self._folder / CURVE_FILE, self.curve)
        if self._progress is not None:
            self._progress(learner.num_timesteps, row)

    def _checkpoint(self) -> None:
        started = time.perf_counter()
        learner = self.learner
        self._saved = learner.num_timesteps
        state = {
            "policy": learner.policy.state_dict(),
            "actor_optimiser": learner.actor.optimizer.state_dict(),
            "critic_optimiser": learner.critic.optimizer.state_dict(),
            "buffer": buffer_state(learner.hindsight),
            "market": self.market.state(),
            "last": learner._last_obs,
            "updates": learner._n_updates,
            "episodes": learner._episode_num,
            "generators": generator_states(noise=learner.noise.rng),
            "numpy": np.random.get_state(),  # noqa: NPY002 - the replay buffer draws from it
            "actions": learner.action_space.np_random.bit_generator.state,
            "curve": self.curve,
            "best": self.best,
            "best_reward": float(self.best_reward),
            "best_step": self.best_step,
            "start": self.start,
            "reported": self._reported,
            "sums": self.market.sums,
        }
        save_checkpoint(self._folder / CHECKPOINTS, self._saved, state, self._meta)
        self._save_seconds += time.perf_counter() - started

    def resume(self) -> bool:
        """Go on from the newest checkpoint; False where there is none."""
        store = self._folder / CHECKPOINTS
        found = latest(store)
        if found is None:
            return False
        check_same_run(store, found.meta, self._meta)
        state, learner = found.state, self.learner
        learner.policy.load_state_dict(state["policy"])
        learner.actor.optimizer.load_state_dict(state["actor_optimiser"])
        learner.critic.optimizer.load_state_dict(state["critic_optimiser"])
        restore_buffer(learner.hindsight, state["buffer"])
        self.market.restore(state["market"])
        learner._last_obs = state["last"]
        learner._n_updates, learner._episode_num = state["updates"], state["episodes"]
        learner.num_timesteps = self._saved = found.step
        restore_generators(state["generators"], noise=learner.noise.rng)
        np.random.set_state(state["numpy"])  # noqa: NPY002
        learner.action_space.np_random.bit_generator.state = state["actions"]
        self.curve, self.start = state["curve"], state["start"]
        self.best, self.best_reward = state["best"], state["best_reward"]
        self.best_step, self._reported = state["best_step"], state["reported"]
        self.market.sums = state["sums"]
        return True


def buffer_state(buffer: HerReplayBuffer) -> dict[str, Any]:
    """Return what a replay buffer holds; rows that were never written are left out."""
    rows = buffer.buffer_size if buffer.full else buffer.pos
    return {
        "rows": rows,
        "pos": buffer.pos,
        "episode_starts": buffer._current_ep_start.copy(),
        "observations": {k: v[:rows] for k, v in buffer.observations.items()},
        "next_observations": {k: v[:rows] for k, v in buffer.next_observations.items()},
        "net_returns": np.array(
            [[info["net_return"] for info in infos] for infos in buffer.infos[:rows]]
        ),
        **{name: getattr(buffer, name)[:rows] for name in BUFFER_ARRAYS},
    }


def restore_buffer(buffer: HerReplayBuffer, state: Mapping[str, Any]) -> None:
    """Put back what `buffer_state` returned, into a buffer of the same size."""
    rows = state["rows"]
    buffer.pos, buffer.full = state["pos"], rows == buffer.buffer_size
    buffer._current_ep_start = state["episode_starts"].copy()
    for key in buffer.observations:
        buffer.observations[key][:rows] = state["observations"][key]
        buffer.next_observations[key][:rows] = state["next_observations"][key]
    for name in BUFFER_ARRAYS:
        getattr(buffer, name)[:rows] = state[name]
    for row, values in enumerate(state["net_returns"].tolist()):
        buffer.infos[row] = [{"net_return": value} for value in values]


def goal_table(book: Dataset, macro_folder: Path, trading: Settings) -> FloatArray:
    """
    Return the budgets that a macro policy asks for at each session, from an empty book.

    Shape: (M, T, G). Raises ConfigError where the policy is not a top policy of the book's groups.
    """
    net, card = load_policy(macro_folder)
    if not isinstance(net, TopNet) or card.groups != book.groups:
        raise ConfigError(
            f"{macro_folder}: expected a macro policy of {', '.join(book.groups)}, "
            f"was {card.name!r}"
        )
    embedded = None
    if card.embeddings:
        from learning.allocator.training.equity.sector_graph import (
            embeddings,  # torch-geometric, for these alone
        )

        embedded = embeddings(book, load_graph(macro_folder / GRAPH_FILE))
    gross = min(trading.limits.max_gross * trading.limits.headroom, card.gross)
    markets, sessions, stocks = book.returns.shape
    table = np.empty((markets, sessions, len(book.groups)))
    for m in range(markets):
        for start in range(0, sessions, CHUNK):
            some = slice(start, min(start + CHUNK, sessions))
            nothing = np.zeros((some.stop - some.start, stocks))
            seen = observe(
                book.features[m, some],
                book.macro[m, some],
                nothing,
                book.shortable,
                nothing,
                nothing[:, 0],
                card.normaliser,
            )
            rows = group_means(seen.instruments, book.group.tolist(), len(book.groups))
            if embedded is not None:
                rows = np.concatenate([rows, embedded[m, some]], axis=-1)
            with torch.no_grad():
                means, _ = net(torch.from_numpy(rows), torch.from_numpy(seen.market))
            table[m, some] = top_budgets(means.numpy(), gross)
    return table
