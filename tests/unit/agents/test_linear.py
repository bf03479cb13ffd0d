"""The line beside the net, and how far the net is believed."""

import numpy as np
import pytest

from agents.supervisor.linear import STRENGTHS, STRONGEST, Line, Trust
from agents.supervisor.neural_ucb import NeuralUCB
from agents.supervisor.reward_network import INPUTS, STRETCH, encode
from config.settings import SupervisorSettings


def routes(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.uniform(0.0, 1.0, (n, 16)), generator.integers(0, 7, n)


def test_the_line_is_ridge_regression_at_one_of_its_strengths() -> None:
    contexts, arms = routes(0, 300)
    encoded = encode(contexts, arms)
    rewards = encoded @ np.linspace(-0.1, 0.1, INPUTS)
    rewards += np.random.default_rng(1).normal(0.0, 0.3, 300)
    line = Line()
    for begin in range(0, 300, 50):
        line.add(encoded[begin : begin + 50], rewards[begin : begin + 50])
    line.fit()
    x = encoded / STRETCH
    fits = [x @ np.linalg.solve(x.T @ x + s * np.eye(INPUTS), x.T @ rewards) for s in STRENGTHS]
    assert min(np.abs(line.predict(encoded) - fit).max() for fit in fits) < 1e-8


def test_the_line_grows_surer_with_outcomes_and_never_certain_of_noise() -> None:
    contexts, arms = routes(0, 2_000)
    encoded, noise = encode(contexts, arms), np.random.default_rng(2).normal(0.0, 5.0, 2_000)
    line = Line()
    line.add(encoded[:100], noise[:100])
    line.fit()
    early = line.width(encoded).mean()
    line.add(encoded[100:], noise[100:])
    line.fit()
    late = line.width(encoded)
    assert late.mean() < early
    least = 5.0 * np.linalg.norm(encoded / STRETCH, axis=1) / np.sqrt(STRONGEST + 2_000 * 8)
    assert (late > 0.5 * least).all()


def test_trust_goes_to_whom_foretold_better_and_starts_even() -> None:
    trust = Trust()
    assert trust.net == 0.5
    rewards = np.random.default_rng(0).normal(0.0, 1.0, 200)
    trust.score(rewards, 0.9 * rewards, np.zeros(200))
    assert trust.net < 0.01
    for _ in range(3):
        trust.score(rewards, np.zeros(200), 0.9 * rewards)
    assert trust.net > 0.99


def test_trust_in_rewards_foretold_without_error_stays_even() -> None:
    trust = Trust()
    trust.score(np.ones(5), np.ones(5), np.ones(5))
    assert trust.net == 0.5


@pytest.mark.parametrize(("noise", "believed"), [(0.02, "net"), (8.0, "line")])
def test_a_learner_believes_its_net_in_clear_rewards_and_its_line_in_luck(
    noise: float, believed: str
) -> None:
    contexts, arms = routes(3, 480)
    luck = np.random.default_rng(4).normal(0.0, noise, 480)
    rewards = np.abs(contexts[:, 0] - 0.5) * np.where(arms < 3, 2.0, -2.0) + luck
    learner = NeuralUCB(SupervisorSettings(hidden=16), seed=0)
    learner.update_batch(contexts, arms.tolist(), rewards.tolist())
    assert learner.trust.net == pytest.approx(float(believed == "net"), abs=0.05)
