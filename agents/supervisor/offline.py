"""
Trains a supervisor on recorded routes, whatever policy chose them.

Rewards are regressed on (context, arm); each record counts by the inverse of the propensity with
which its arm was chosen, clipped and then scaled to mean one, so that routes which the recorder
seldom took are not drowned (Horvitz & Thompson 1952; the clip is the usual price in bias for less
variance). The weight of the network against the line is measured on the newest fifth, which
neither has seen; both then learn again from everything. Afterwards the learner is as if it had
made the records itself: its memory holds them, and its exploration has decayed by one round for
every `train_every` of them. It knows no store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.arrays import FloatArray
from agents.supervisor.linear import Trust
from agents.supervisor.neural_ucb import NeuralUCB
from agents.supervisor.reward_network import Adam, encode
from config.errors import DataError
from config.settings import SupervisorSettings

WEIGHT_LIMIT = 10.0  # of 1 / propensity; seven arms drawn evenly give 7
HELD_OUT = 5  # the newest fifth says whom to trust


@dataclass(frozen=True)
class Trajectories:
    """
    Recorded routes and what came of them, oldest first.

    Shapes: contexts (M, 16); actions, rewards, propensities (M,).
    """

    contexts: FloatArray
    actions: NDArray[np.int64]
    rewards: FloatArray
    propensities: FloatArray

    def __getitem__(self, which: slice) -> Trajectories:
        """Return the trajectories of a slice."""
        return Trajectories(
            self.contexts[which],
            self.actions[which],
            self.rewards[which],
            self.propensities[which],
        )


def train_offline(
    trajectories: Trajectories,
    settings: SupervisorSettings,
    seed: int,
    epochs: int = 100,
    batch: int = 32,
    lr: float = 1e-3,
    progress: Callable[[int, float], None] | None = None,
) -> NeuralUCB:
    """
    Return a learner trained on all trajectories; its net and memory on the newest of them.

    `progress` is called after every epoch with its number, from 1, and its mean squared error in
    standardised rewards. The learner's own optimiser, at `settings.learning_rate`, starts fresh.
    Raises DataError if there are none, or if a propensity is not in (0, 1].
    """
    propensities = trajectories.propensities
    if len(trajectories.rewards) == 0:
        raise DataError("expected at least one recorded route to train on, was none")
    shaped = propensities.shape == trajectories.rewards.shape
    if not shaped or not ((propensities > 0) & (propensities <= 1)).all():
        raise DataError("expected one propensity in (0, 1] a route, was another number")

    held_out = len(trajectories.rewards) // HELD_OUT
    learner = NeuralUCB(settings, seed)
    if held_out:
        novice = NeuralUCB(settings, seed)
        _fit(novice, trajectories[:-held_out], seed, epochs, batch, lr, None)
        learner.trust = _trust(novice, trajectories[-held_out:])
    _fit(learner, trajectories, seed, epochs, batch, lr, progress)
    return learner


def _fit(
    learner: NeuralUCB,
    trajectories: Trajectories,
    seed: int,
    epochs: int,
    batch: int,
    lr: float,
    progress: Callable[[int, float], None] | None,
) -> None:
    learner.fit_line(trajectories.contexts, trajectories.actions, trajectories.rewards)
    newest = trajectories[-learner.settings.memory :]
    rewards = newest.rewards
    learner.remember(newest.contexts, newest.actions, rewards)
    mean, scale = learner.standardise()
    weights = np.minimum(1.0 / newest.propensities, WEIGHT_LIMIT)
    weights /= weights.mean()
    inputs = encode(newest.contexts, newest.actions).astype(np.float32)
    targets = ((rewards - mean) / scale).astype(np.float32)
    scaled = weights.astype(np.float32)
    optimiser = Adam(learner.net.parameters, lr)
    generator = np.random.default_rng([seed, 1])
    error = 1.0
    for epoch in range(1, epochs + 1):
        order = generator.permutation(len(rewards))
        total = 0.0
        for rows in np.split(order, range(batch, len(order), batch)):
            loss = learner.net.step(optimiser, inputs[rows], targets[rows], scaled[rows])
            total += loss * len(rows)
        error = total / len(rewards)
        if progress is not None:
            progress(epoch, error)
    learner.settle(-(-len(rewards) // learner.settings.train_every), error)


def _trust(novice: NeuralUCB, unseen: Trajectories) -> Trust:
    """Return how well net and line foretold rewards that neither has seen."""
    encoded = encode(unseen.contexts, unseen.actions)
    trust = Trust()
    trust.score(unseen.rewards, *novice.foretell(encoded))
    return trust
