"""
Phase 4 of the equity book: the micro policy learns by TD3 with hindsight experience replay.

Training starts from the pre-trained micro network. Goals come from the macro policy for a share
of the episodes and are random for the rest. Of five transitions that an update sees, four have
another goal put in hindsight, one that the same episode did reach later; what the session earned
stays as it was (`GoalVecEnv.compute_reward`).

A checkpoint holds the whole replay buffer, so that a run that was killed goes on bit for bit. The
checkpoint whose policy did best on the validation windows is exported, the start included.
`td3_learner` is the learner. Sources: Fujimoto et al. 2018 (TD3); Andrychowicz et al. 2017 (HER).
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from agents.allocator.graph import load_graph
from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import group_means, observe, top_budgets
from agents.allocator.policy_file import ANY_GROUP, GRAPH_FILE, load_policy, save_policy
from agents.arrays import FloatArray
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
from learning.allocator.training.equity.td3_learner import (
    MicroTD3,
    buffer_state,
    make_model,
    restore_buffer,
)
from learning.allocator.training.equity.td3_policy import SessionInputs, StockActor
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
from learning.allocator.training.training_run import TrainingRun
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Window
from learning.envs.goal_env import GoalMarket

PHASE = "micro-her"
REPORTS = 20  # points of a learning curve
EVAL_EPISODES = 16
CHUNK = 256  # sessions that a macro policy is asked for at once


def train_micro_her(
    run: TrainingRun, micro_folder: Path, macro_folder: Path | None
) -> PhaseResult:
    """
    Train the micro policy to reach its goals and to earn while it does; export the best.

    `micro_folder` and `macro_folder` are policy folders; without the second all goals are random.
    The run's folder comes to hold the policy ("bottom"), checkpoints, the curve, TensorBoard
    scalars and the summary.
    Raises ConfigError where a policy does not fit the book, a resume finds another run's
    checkpoint, too few steps are asked for, or the disk is full.
    """
    started = time.perf_counter()
    dataset, split, settings = run.dataset, run.split, run.settings.her
    trading = run.settings.trading
    net, card = load_policy(micro_folder)
    if not isinstance(net, BottomNet) or card.group != ANY_GROUP or card.groups != dataset.groups:
        raise ConfigError(
            f"{micro_folder}: expected a micro policy of {', '.join(dataset.groups)}, "
            f"was {card.name!r}"
        )
    table = None if macro_folder is None else goal_table(dataset, macro_folder, trading)
    market = GoalMarket(
        dataset, trading, settings, split.train, batch=settings.envs, seed=run.seed, goals=table
    )
    held_out = Evaluator(run, split.validation, table)
    model = make_model(market, SessionInputs(dataset, card.normaliser), settings, run.seed)
    model.start_from(net)
    model.set_logger(configure(str(run.folder / LOGS), ["tensorboard"]))
    meta = identity(PHASE, run) | {
        "settings": msgspec.to_builtins(settings),
        "trading": trading.digest,
        "timesteps": settings.timesteps,
        "micro": card.digest,
    }
    watch = Watch(run, model, market, held_out, meta)
    if not (run.resume and watch.resume()):
        watch.evaluate()
    if model.num_timesteps < settings.timesteps:
        model.learn(
            settings.timesteps - model.num_timesteps,
            callback=watch,
            reset_num_timesteps=False,
            log_interval=sys.maxsize,
        )
        watch.finish()
    model.net.load_state_dict(watch.best)
    record = training_record(run, model.num_timesteps)
    card = bottom_card(dataset, card.normaliser, record, "micro-her")
    save_policy(run.folder / card.slot, model.net, card)
    measures = {f"validation_{k}": v for k, v in held_out.measure(model.stocks).items()}
    measures |= {f"start_{k}": v for k, v in watch.start.items()}
    measures |= {f"random_{k}": v for k, v in held_out.measure(None).items()}
    test = Evaluator(run, split.test, table)
    measures |= {f"test_{k}": v for k, v in test.measure(model.stocks).items()}
    measures["best_step"] = float(watch.best_step)
    seconds = watch.seconds()
    seconds["rest"] = time.perf_counter() - started - sum(seconds.values())
    return write_result(
        PhaseResult(
            phase=PHASE,
            folder=str(run.folder),
            steps=model.num_timesteps,
            seconds=seconds,
            measures=measures,
            policies={card.slot: card.slot},
        )
    )


class Evaluator:
    """Measures how well a policy reaches goals and earns, on the same episodes for everyone."""

    def __init__(
        self, run: TrainingRun, windows: Sequence[Window], table: FloatArray | None
    ) -> None:
        self._run, self._windows, self._table = run, windows, table

    def measure(self, actor: StockActor | None) -> dict[str, float]:
        """Return the means a session of an actor, or of random actions."""
        market = GoalMarket(
            self._run.dataset,
            self._run.settings.trading,
            self._run.settings.her,
            self._windows,
            batch=EVAL_EPISODES,
            seed=0,
            goals=self._table,
        )
        rng = np.random.default_rng(0)
        shape = (market.batch, len(market.dataset.symbols))
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


class Watch(BaseCallback):
    """
    A run's progress: curve, scalars, checkpoints, and the best policy so far.

    All of it is done before a rollout, when the last one is stored and learned from, so that a
    run goes on from a checkpoint as if nothing had happened.
    """

    def __init__(
        self,
        run: TrainingRun,
        model: MicroTD3,
        market: GoalMarket,
        evaluator: Evaluator,
        meta: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._run, self._settings, self._meta = run, run.settings.her, dict(meta)
        self.learner, self.market, self._evaluator = model, market, evaluator
        self._report_every = max(self._settings.timesteps // REPORTS, self._settings.envs)
        self._reported, self._saved = 0, 0
        self._evaluation_seconds = self._save_seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.start: dict[str, float] = {}
        self.best_reward, self.best_step = -np.inf, 0

    def evaluate(self) -> dict[str, float]:
        """Measure the present policy on the validation windows, and keep it if it is the best."""
        started = time.perf_counter()
        found = self._evaluator.measure(self.learner.stocks)
        self.start = self.start or found
        if found["reward"] > self.best_reward:
            self.best_reward, self.best_step = found["reward"], self.learner.num_timesteps
            self.best = weights(self.learner.net)
        self._evaluation_seconds += time.perf_counter() - started
        return found

    def finish(self) -> None:
        """Evaluate and save the last policy."""
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
        row |= {f"validation_{k}": v for k, v in self.evaluate().items()}
        self.curve.append(row)
        for name, value in row.items():
            learner.logger.record(f"micro_her/{name}", value)
        learner.logger.dump(learner.num_timesteps)
        write_curve(self._run.folder / CURVE_FILE, self.curve)
        self._run.progress(learner.num_timesteps, row)

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
        save_checkpoint(self._run.folder / CHECKPOINTS, self._saved, state, self._meta)
        self._save_seconds += time.perf_counter() - started

    def resume(self) -> bool:
        """Go on from the newest checkpoint; False where there is none."""
        store = self._run.folder / CHECKPOINTS
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


def goal_table(dataset: Dataset, macro_folder: Path, trading: Settings) -> FloatArray:
    """
    Return the budgets that a macro policy asks for at each session, from an empty book.

    Shape: (M, T, G). Raises ConfigError where the policy is not a top policy of the book's groups.
    """
    net, card = load_policy(macro_folder)
    if not isinstance(net, TopNet) or card.groups != dataset.groups:
        raise ConfigError(
            f"{macro_folder}: expected a macro policy of {', '.join(dataset.groups)}, "
            f"was {card.name!r}"
        )
    embedded = None
    if card.embeddings:
        from learning.allocator.training.equity.sector_graph import (
            embeddings,  # torch-geometric, for these alone
        )

        embedded = embeddings(dataset, load_graph(macro_folder / GRAPH_FILE))
    gross = min(trading.limits.max_gross * trading.limits.headroom, card.gross)
    markets, sessions, stocks = dataset.returns.shape
    table = np.empty((markets, sessions, len(dataset.groups)))
    for m in range(markets):
        for start in range(0, sessions, CHUNK):
            some = slice(start, min(start + CHUNK, sessions))
            nothing = np.zeros((some.stop - some.start, stocks))
            seen = observe(
                dataset.features[m, some],
                dataset.macro[m, some],
                nothing,
                dataset.shortable,
                nothing,
                nothing[:, 0],
                card.normaliser,
            )
            rows = group_means(seen.instruments, dataset.group.tolist(), len(dataset.groups))
            if embedded is not None:
                rows = np.concatenate([rows, embedded[m, some]], axis=-1)
            with torch.no_grad():
                means, _ = net(torch.from_numpy(rows), torch.from_numpy(seen.market))
            table[m, some] = top_budgets(means.numpy(), gross)
    return table
