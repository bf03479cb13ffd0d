"""
NeuralUCB: the contextual bandit that chooses a route for every instrument.

Sources: Zhou, Li & Gu 2020, NeuralUCB, Algorithm 1 (network mean, gradient bonus, 1/m scaling);
Riquelme, Tucker & Snoek 2018, NeuralLinear (a precision per arm over the last hidden layer, the
default here). The score of an arm is

    mean + nu * sigma * sqrt(phiᵀ A⁻¹ phi),   phi = sqrt(GAIN) [last hidden / sqrt(hidden), 1]

in reward units. Departures: rewards are standardised by the memory's mean and deviation; sigma,
the deviation of the net's recent errors or half the rewards', whichever is more, scales the
bonus, so that nu means the same on any reward; nu decays once a training round instead of
following the paper's confidence radius; the net goes on from where it was instead of from its
first weights. As training moves the features, `last_layer` rebuilds its matrices from memory, in
rounds 1, 2, 4, 8 and every 16th; `diagonal` and `full` keep each gradient as it was, as in the
paper; mean and bonus are mixed with those of a line (`linear`), by how well net and line have
foretold the rewards so far. docs/supervisor.md argues the choices. It knows no juniors, prices or
clock: what a route costs is in the reward that it is given.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray
from agents.messages import Route
from agents.supervisor.linear import Line, Trust
from agents.supervisor.precision import Precision
from agents.supervisor.reward_network import INPUTS, Adam, RewardNet, Weights, encode
from agents.supervisor.routing import (
    ARMS,
    CONTEXT_SIZE,
    check_contexts,
    check_feedback,
    make_routes,
    open_arms,
)
from agents.supervisor.saved_state import digest_of, read_state, write_state
from config.errors import ConfigError, DataError
from config.settings import SupervisorSettings

STEPS_PER_ROUND = 16  # gradient steps, each on one batch drawn from memory
FIRST_FITS = 4  # outcomes between the line's fits, until the first round
EARLY_ROUNDS, EARLY_STEPS = 32, 64  # more at first, when each outcome says most
REBUILD_EVERY = 16  # rounds, after the first ones
SIGMA_FLOOR = 0.5  # a net that fits what it tried says nothing of what it did not
GAIN = 10.0  # of squared features against lambda; at 1 an arm can be given up after eight tries
FORMAT = 2
FULL_LIMIT = 4096  # parameters, in a whole gradient matrix


class NeuralUCB:
    """
    A supervisor that learns from every closed outcome.

    The same seed and the same calls give the same bytes; `digest` is the hash of all that was
    learned, and a saved and loaded learner goes on exactly as the one that was saved.
    """

    def __init__(self, settings: SupervisorSettings, seed: int) -> None:
        self.settings = settings
        self.nu = settings.exploration
        self.rounds = 0
        self.updates = 0
        self._generator = np.random.default_rng(seed)
        self.net = RewardNet(settings.hidden, self._generator)
        self._optimiser = Adam(self.net.parameters, settings.learning_rate)
        self._weights = self.net.weights.as_float64()
        self._contexts = np.zeros((settings.memory, CONTEXT_SIZE))
        self._actions = np.zeros(settings.memory, dtype=np.int64)
        self._rewards = np.zeros(settings.memory)
        self._mean, self._scale, self._sigma = 0.0, 1.0, 1.0
        self._line, self.trust = Line(), Trust()
        self._groups, self._size = ARMS, settings.hidden + 1
        if settings.precision != "last_layer":
            self._groups, self._size = 1, self.net.parameters.size
        if settings.precision == "full" and self._size > FULL_LIMIT:
            raise ConfigError(
                f"expected a net of at most {FULL_LIMIT} parameters for supervisor.precision "
                f"full, was {self._size}: lower supervisor.hidden or use last_layer"
            )
        self._precision = Precision(
            self._groups,
            self._size,
            settings.regularisation,
            diagonal=settings.precision == "diagonal",
        )

    def select(
        self, contexts: FloatArray, symbols: Sequence[str], evidence: BoolArray
    ) -> list[Route]:
        """
        Return the route with the highest upper confidence bound for each instrument.

        Only routes whose juniors all have evidence count; propensity 1. A tie goes to the lowest
        arm. Shapes: contexts (N, 16), evidence (N, 3).
        Raises DataError on another shape or a number that is not finite.
        """
        contexts = check_contexts(contexts, symbols)
        may = open_arms(evidence, symbols)
        mean, bonus = self.estimate(contexts)
        return make_routes(contexts, symbols, mean + bonus, may)

    def estimate(self, contexts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """
        Return each arm's expected reward and its exploration bonus, both in reward units.

        The line's bonus does not decay with the rounds: its standard error shrinks by itself.
        Shapes: contexts (N, 16) -> (N, 7), (N, 7).
        """
        n = len(contexts)
        encoded = encode(np.tile(contexts, (ARMS, 1)), np.repeat(np.arange(ARMS), n))
        mean, width = self.estimate_by_net(encoded)
        net = self.trust.net
        mean = net * mean + (1.0 - net) * self._line.predict(encoded)
        line_bonus = self.settings.exploration * self._line.width(encoded)
        bonus = net * self.nu * width + (1.0 - net) * line_bonus
        return mean.reshape(ARMS, n).T, bonus.reshape(ARMS, n).T

    def estimate_by_net(self, encoded: FloatArray) -> tuple[FloatArray, FloatArray]:
        """
        Return the net's expected rewards and their standard errors, in reward units.

        Shapes: encoded (7 N, 51), arm by arm -> (7 N,), (7 N,).
        """
        _, last = self._weights.hidden(encoded)
        mean = self._mean + self._scale * self._weights.predict(last)
        features = self._features(encoded, last).reshape(self._groups, -1, self._size)
        width = self._precision.width(features).ravel()
        return mean, self._scale * self._sigma * width

    def foretell(self, encoded: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the line's and the net's expected rewards; shapes: (M, 51) -> (M,), (M,)."""
        _, last = self._weights.hidden(encoded)
        return self._line.predict(encoded), self._mean + self._scale * self._weights.predict(last)

    def update(self, context: FloatArray, action: int, reward: float) -> None:
        """
        Learn from one closed outcome; every `train_every`-th call trains the network.

        Shapes: context (16,). Raises DataError if an argument is out of range or not finite.
        """
        self.update_batch(np.asarray(context)[None], [action], [reward])

    def update_batch(
        self, contexts: FloatArray, actions: Sequence[int], rewards: Sequence[float]
    ) -> None:
        """
        Learn from outcomes in their order; shapes: contexts (N, 16).

        As by `update` one by one, training rounds included, but for the last bits of sums: what
        lies between two fits is taken in at once.
        """
        contexts = np.asarray(contexts, dtype=np.float64)
        check_feedback(contexts, actions, rewards)
        arms, values = np.asarray(actions, dtype=np.int64), np.asarray(rewards, dtype=np.float64)
        begin = 0
        while begin < len(arms):
            which = slice(begin, begin + self._until_fit())
            self._take_in(contexts[which], arms[which], values[which])
            begin = which.stop
            if self.updates % self.settings.train_every == 0:
                self._train_round()
            elif self.updates < self.settings.train_every and self.updates % FIRST_FITS == 0:
                self._line.fit()

    def standardise(self) -> tuple[float, float]:
        """Take the rewards' mean and deviation from memory, and return them."""
        rewards = self._rewards[: self.remembered]
        self._mean = float(rewards.mean())
        self._scale = float(rewards.std()) or 1.0
        return self._mean, self._scale

    def settle(self, rounds: int, mean_squared_error: float) -> None:
        """Count training rounds as done: copy the weights out, decay nu, rebuild when due."""
        self.rounds += rounds
        self.nu = self.settings.exploration * self.settings.exploration_decay**self.rounds
        self._sigma = max(SIGMA_FLOOR, float(np.sqrt(mean_squared_error)))
        self._weights = self.net.weights.as_float64()
        early = self.rounds < REBUILD_EVERY and self.rounds.bit_count() == 1
        due = rounds > 1 or early or self.rounds % REBUILD_EVERY == 0
        if due and self.settings.precision == "last_layer":
            self._precision.rebuild(self._grams())

    def remember(
        self, contexts: FloatArray, actions: NDArray[np.int64], rewards: FloatArray
    ) -> None:
        """Put outcomes into memory without learning yet; shapes: contexts (N, 16)."""
        check_feedback(contexts, actions.tolist(), rewards.tolist())
        self._remember(contexts, actions, rewards)

    def fit_line(
        self, contexts: FloatArray, actions: NDArray[np.int64], rewards: FloatArray
    ) -> None:
        """Let the line alone learn from outcomes; shapes: contexts (N, 16), actions, rewards."""
        check_feedback(contexts, actions.tolist(), rewards.tolist())
        self._line.add(encode(contexts, actions), rewards)
        self._line.fit()

    @property
    def remembered(self) -> int:
        """How many outcomes the memory holds."""
        return min(self.updates, self.settings.memory)

    @property
    def digest(self) -> str:
        """The SHA-256 of all learned state: net, line, optimiser, precision, memory, generator."""
        return digest_of(self._state())

    def save(self, path: Path) -> None:
        """Write all state to one .npz file, atomically."""
        write_state(path, self._state())

    @classmethod
    def load(cls, path: Path) -> Self:
        """
        Return the learner that was saved.

        Raises DataError if the file is missing, damaged, or of another format.
        """
        arrays = read_state(path)
        try:
            header = json.loads(arrays["header"].tobytes())
            if header["format"] != FORMAT:
                raise DataError(f"expected state format {FORMAT}, was {header['format']}")
            learner = cls(msgspec.convert(header["settings"], SupervisorSettings), seed=0)
            learner._restore(header, arrays)
        except (KeyError, ValueError, TypeError, RecursionError) as e:
            raise DataError(
                f"expected a supervisor state in {path.name}, was one with a fault: {e}"
            ) from e
        return learner

    def _features(self, encoded: FloatArray, last_hidden: FloatArray) -> FloatArray:
        root = np.sqrt(self.settings.hidden)
        if self.settings.precision != "last_layer":
            return np.asarray(self._weights.gradients(encoded) / root)
        ones = np.ones((len(encoded), 1))
        return np.asarray(np.sqrt(GAIN) * np.concatenate([last_hidden / root, ones], axis=1))

    def _until_fit(self) -> int:
        """Return how many outcomes may be taken in before the line or the net is fitted."""
        every = self.settings.train_every
        if self.updates < every:
            return min(FIRST_FITS - self.updates % FIRST_FITS, every - self.updates)
        return every - self.updates % every

    def _take_in(
        self, contexts: FloatArray, actions: NDArray[np.int64], rewards: FloatArray
    ) -> None:
        encoded = encode(contexts, actions)
        _, last = self._weights.hidden(encoded)
        features = self._features(encoded, last)
        for group, row in zip((actions % self._groups).tolist(), features, strict=True):
            self._precision.add(group, row)
        net = self._mean + self._scale * self._weights.predict(last)
        self.trust.score(rewards, self._line.predict(encoded), net)
        self._line.add(encoded, rewards)
        self._remember(contexts, actions, rewards)

    def _remember(
        self, contexts: FloatArray, actions: NDArray[np.int64], rewards: FloatArray
    ) -> None:
        slots = (self.updates + np.arange(len(actions))) % self.settings.memory
        self._contexts[slots] = contexts
        self._actions[slots] = actions
        self._rewards[slots] = rewards
        self.updates += len(actions)

    def _train_round(self) -> None:
        self.standardise()
        steps = EARLY_STEPS if self.rounds < EARLY_ROUNDS else STEPS_PER_ROUND
        shape = (steps, self.settings.batch_size)
        picks = self._generator.integers(0, self.remembered, shape)
        encoded = encode(self._contexts[picks.ravel()], self._actions[picks.ravel()])
        inputs = encoded.astype(np.float32).reshape(*shape, INPUTS)
        rewards = ((self._rewards[picks] - self._mean) / self._scale).astype(np.float32)
        losses = [
            self.net.step(self._optimiser, x, y) for x, y in zip(inputs, rewards, strict=True)
        ]
        self.settle(1, float(np.mean(losses)))
        self._line.fit()

    def _grams(self) -> FloatArray:
        n = self.remembered
        actions = self._actions[:n]
        encoded = encode(self._contexts[:n], actions)
        _, last = self.net.weights.hidden(encoded.astype(np.float32))
        phi = self._features(encoded, last.astype(np.float64))
        rows = [phi[actions == arm] for arm in range(ARMS)]
        return np.stack([row.T @ row for row in rows])

    def _state(self) -> dict[str, NDArray[Any]]:
        n = self.remembered
        header = {
            "format": FORMAT,
            "settings": msgspec.to_builtins(self.settings),
            "generator": self._generator.bit_generator.state,
            "rounds": self.rounds,
            "updates": self.updates,
            "nu": self.nu,
            "mean": self._mean,
            "scale": self._scale,
            "sigma": self._sigma,
        }
        text = json.dumps(header, sort_keys=True).encode()
        arrays: dict[str, NDArray[Any]] = {
            "header": np.frombuffer(text, dtype=np.uint8),
            "memory.contexts": self._contexts[:n],
            "memory.actions": self._actions[:n],
            "memory.rewards": self._rewards[:n],
            "precision": self._precision.inverse,
            "trust": self.trust.seen,
            **self._line.state(),
        }
        arrays |= {f"net.{name}": layer for name, layer in self.net.weights._asdict().items()}
        if self._optimiser.steps:
            step = np.array(self._optimiser.steps, dtype=np.float32)
            for key, moments in self._moments().items():
                for name, layer in moments._asdict().items():
                    arrays[f"adam.{name}.step"] = step
                    arrays[f"adam.{name}.{key}"] = layer
        return arrays

    def _moments(self) -> dict[str, Weights[np.float32]]:
        """Return the optimiser's moments by layer, under torch's names, without a copy."""
        hidden = self.settings.hidden
        return {
            "exp_avg": Weights.views(self._optimiser.mean, hidden),
            "exp_avg_sq": Weights.views(self._optimiser.square, hidden),
        }

    def _restore(self, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        self._generator.bit_generator.state = header["generator"]
        self.rounds, self.updates, self.nu = header["rounds"], header["updates"], header["nu"]
        self._mean, self._scale = header["mean"], header["scale"]
        self._sigma = header["sigma"]
        n = self.remembered
        self._contexts[:n] = arrays["memory.contexts"]
        self._actions[:n] = arrays["memory.actions"]
        self._rewards[:n] = arrays["memory.rewards"]
        if arrays["precision"].shape != self._precision.inverse.shape:
            raise ValueError(f"precision of shape {arrays['precision'].shape}")
        self._precision.inverse = arrays["precision"]
        self._line.restore(arrays)
        self.trust.seen += arrays["trust"]
        for name, layer in self.net.weights._asdict().items():
            layer[...] = arrays[f"net.{name}"]
        if "adam.w1.step" in arrays:
            self._optimiser.steps = int(arrays["adam.w1.step"])
            for key, moments in self._moments().items():
                for name, layer in moments._asdict().items():
                    layer[...] = arrays[f"adam.{name}.{key}"]
        self._weights = self.net.weights.as_float64()
