"""The learner's algebra, its state on disk, and the refusals, on nets small enough to check."""

from __future__ import annotations

import time
from itertools import product

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.messages import JUNIORS, ROUTES, Route
from agents.protocols import Supervisor
from agents.supervisor.lin_ucb import LinUCB
from agents.supervisor.neural_ucb import GAIN, NeuralUCB
from agents.supervisor.offline import Trajectories, train_offline
from agents.supervisor.plain_routers import AlwaysAll, UniformRouter
from agents.supervisor.precision import Precision
from agents.supervisor.reward_network import Adam, RewardNet, Weights, encode
from config.errors import ConfigError, DataError
from config.settings import SupervisorSettings

SMALL = SupervisorSettings(hidden=8, train_every=16, batch_size=8, memory=100)


def everyone(n: int) -> np.ndarray:
    """All three juniors have evidence in each of n cases."""
    return np.ones((n, 3), dtype=bool)


def contexts_of(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.0, 1.0, (n, 16))


def live(learner: NeuralUCB, seed: int, n: int) -> list[int]:
    """Let a learner decide and learn n times; the reward is a fixed function of both."""
    arms = []
    for context in contexts_of(seed, n):
        arm = learner.select(context[None], ["A"], everyone(1))[0].arm
        learner.update(context, arm, float(context[arm] - 0.1 * arm))
        arms.append(arm)
    return arms


def trained(config: SupervisorSettings = SMALL, n: int = 70) -> NeuralUCB:
    learner = NeuralUCB(config, seed=3)
    live(learner, 1, n)
    return learner


def shaken_net(hidden: int) -> RewardNet:
    generator = np.random.default_rng(0)
    net = RewardNet(hidden, generator)
    net.parameters += generator.normal(0.0, 0.3, net.parameters.shape).astype(np.float32)
    return net


def in_torch(weights: Weights) -> torch.nn.Sequential:
    """The same network in torch, of the weights' own precision."""
    hidden = len(weights.b1)
    net = torch.nn.Sequential(
        torch.nn.Linear(51, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, 1),
    ).to(torch.from_numpy(weights.b1).dtype)
    with torch.no_grad():
        for parameter, layer in zip(net.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(layer))
    return net


def test_encoding_puts_the_context_in_the_blocks_of_the_juniors_asked() -> None:
    context = contexts_of(0, 1)
    for arm, route in enumerate(ROUTES):
        blocks = encode(context, [arm]).reshape(3, 17)
        for junior, block in zip(JUNIORS, blocks, strict=True):
            assert np.any(block) == (junior in route)
            assert block[-1] == (junior in route)


def test_the_forward_pass_equals_torch() -> None:
    weights = shaken_net(32).weights.as_float64()
    encoded = encode(contexts_of(1, 21), np.arange(21) % 7)
    _, last = weights.hidden(encoded)
    theirs = in_torch(weights)(torch.from_numpy(encoded)).detach().numpy()[:, 0]
    assert weights.predict(last) == pytest.approx(theirs, abs=1e-12)


def test_gradients_equal_autograd() -> None:
    weights = shaken_net(8).weights.as_float64()
    encoded = encode(contexts_of(2, 7), np.arange(7))
    net = in_torch(weights)
    for row, x in zip(weights.gradients(encoded), torch.from_numpy(encoded), strict=True):
        grads = torch.autograd.grad(net(x[None])[0, 0], list(net.parameters()))
        assert row == pytest.approx(torch.cat([g.ravel() for g in grads]).numpy(), abs=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_training_steps_equal_torchs(weighted: bool) -> None:
    generator = np.random.default_rng(4)
    net = RewardNet(128, generator)
    theirs = in_torch(net.weights)
    mine = Adam(net.parameters, lr=1e-3)
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    for _ in range(40):
        contexts, arms = generator.uniform(0.0, 1.0, (32, 16)), generator.integers(0, 7, 32)
        x = encode(contexts, arms).astype(np.float32)
        y = generator.standard_normal(32).astype(np.float32)
        weights = generator.uniform(0.2, 3.0, 32).astype(np.float32) if weighted else None
        loss = net.step(mine, x, y, weights)
        adam.zero_grad()
        error = torch.square(theirs(torch.from_numpy(x))[:, 0] - torch.from_numpy(y))
        mean = (error if weights is None else torch.from_numpy(weights) * error).mean()
        mean.backward()
        adam.step()
        assert loss == pytest.approx(mean.item(), abs=1e-6)
    moments = [Weights.views(flat, 128) for flat in (net.parameters, mine.mean, mine.square)]
    for parameter, layer, mean, square in zip(theirs.parameters(), *moments, strict=True):
        state = adam.state[parameter]
        assert layer == pytest.approx(parameter.detach().numpy(), abs=1e-6)
        assert mean == pytest.approx(state["exp_avg"].numpy(), abs=1e-6)
        assert square == pytest.approx(state["exp_avg_sq"].numpy(), abs=1e-6)
        assert mine.steps == state["step"].item() == 40


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 40))
def test_sherman_morrison_equals_the_inverse_from_scratch(seed: int, count: int) -> None:
    features = np.random.default_rng(seed).normal(0.0, 1.0, (count, 5))
    step_by_step = Precision(2, 5, 0.5, diagonal=False)
    for row in features:
        step_by_step.add(1, row)
    at_once = Precision(2, 5, 0.5, diagonal=False)
    at_once.rebuild(np.stack([np.zeros((5, 5)), features.T @ features]))
    assert step_by_step.inverse == pytest.approx(at_once.inverse, abs=1e-9)
    expected = np.sqrt(np.einsum("mp,gpq,mq->gm", features, at_once.inverse, features))
    widths = step_by_step.width(np.stack([features, features]))
    assert widths == pytest.approx(expected, abs=1e-9)


def test_full_precision_is_that_of_the_paper() -> None:
    config = msgspec.structs.replace(SMALL, precision="full", hidden=4, train_every=1000)
    learner = NeuralUCB(config, seed=0)
    contexts = contexts_of(5, 30)
    z = np.eye(learner.net.parameters.size)
    for k, context in enumerate(contexts):
        learner.update(context, k % 7, 0.1 * k)
        g = learner.net.weights.as_float64().gradients(encode(context[None], [k % 7]))[0] / 2.0
        z += np.outer(g, g)
    probe = contexts_of(6, 1)
    encoded = encode(np.repeat(probe, 7, axis=0), np.arange(7))
    g = learner.net.weights.as_float64().gradients(encoded) / 2.0
    expected = np.sqrt(np.einsum("kp,pq,kq->k", g, np.linalg.inv(z), g))
    assert learner.estimate_by_net(encoded)[1] == pytest.approx(expected, rel=1e-9)


def test_diagonal_precision_keeps_the_diagonal_of_the_full_one() -> None:
    features = np.random.default_rng(0).normal(0.0, 1.0, (9, 6))
    diagonal = Precision(1, 6, 2.0, diagonal=True)
    for row in features:
        diagonal.add(0, row)
    assert diagonal.inverse[0] == pytest.approx(1.0 / (2.0 + (features**2).sum(axis=0)))


@pytest.mark.parametrize("precision", ["last_layer", "diagonal", "full"])
def test_an_arm_grows_more_certain_as_it_is_tried(precision: str) -> None:
    learner = NeuralUCB(msgspec.structs.replace(SMALL, precision=precision), seed=0)
    context = contexts_of(0, 1)
    before = learner.estimate(context)[1][0]
    for _ in range(5):
        learner.update(context[0], 2, 0.0)
    after = learner.estimate(context)[1][0]
    assert after[2] < before[2]
    assert np.all(after <= before + 1e-12)


def test_rebuild_after_training_sees_every_remembered_route() -> None:
    learner = NeuralUCB(SMALL, seed=0)
    contexts = contexts_of(0, 16)
    arms = [k % 7 for k in range(16)]
    learner.update_batch(contexts, arms, [0.1 * a for a in arms])
    assert learner.rounds == 1
    _, last = learner.net.weights.hidden(encode(contexts, arms))
    phi = np.sqrt(GAIN) * np.concatenate([last / np.sqrt(8), np.ones((16, 1))], axis=1)
    for arm in range(7):
        mine = phi[np.array(arms) == arm]
        expected = np.linalg.inv(np.eye(9) + mine.T @ mine)
        assert learner._precision.inverse[arm] == pytest.approx(expected, abs=1e-5)


def test_exploration_decays_once_a_training_round() -> None:
    learner = trained(n=64)
    assert learner.rounds == 4
    assert learner.nu == pytest.approx(0.995**4)


def test_same_seed_and_calls_give_the_same_bytes() -> None:
    first, second = NeuralUCB(SMALL, seed=3), NeuralUCB(SMALL, seed=3)
    assert first.digest == second.digest
    assert live(first, 1, 70) == live(second, 1, 70)
    assert first.digest == second.digest
    assert NeuralUCB(SMALL, seed=4).digest != NeuralUCB(SMALL, seed=3).digest


@pytest.mark.parametrize("precision", ["last_layer", "diagonal", "full"])
def test_a_batch_of_updates_equals_the_updates_one_by_one(precision: str) -> None:
    config = msgspec.structs.replace(SMALL, precision=precision)
    contexts, arms = contexts_of(0, 250), [k % 7 for k in range(250)]
    rewards = [float(c[a] - 0.1 * a) for c, a in zip(contexts, arms, strict=True)]
    one, batch = NeuralUCB(config, seed=0), NeuralUCB(config, seed=0)
    for context, arm, reward in zip(contexts, arms, rewards, strict=True):
        one.update(context, arm, reward)
    for begin in range(0, 250, 37):
        some = slice(begin, begin + 37)
        batch.update_batch(contexts[some], arms[some], rewards[some])
    assert (one.rounds, one.updates) == (batch.rounds, batch.updates) == (15, 250)
    probe = contexts_of(8, 30)
    for mine, theirs in zip(batch.estimate(probe), one.estimate(probe), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)


def test_a_batch_with_one_faulty_outcome_is_refused_whole() -> None:
    learner = NeuralUCB(SMALL, seed=0)
    before = learner.digest
    with pytest.raises(DataError, match="finite"):
        learner.update_batch(contexts_of(0, 3), [0, 1, 2], [0.1, 0.2, float("inf")])
    assert learner.digest == before


@pytest.mark.parametrize("precision", ["last_layer", "diagonal", "full"])
@pytest.mark.parametrize("lived", [0, 5, 70, 230])
def test_a_loaded_learner_goes_on_byte_for_byte(tmp_path, precision: str, lived: int) -> None:
    config = msgspec.structs.replace(SMALL, precision=precision)
    saved = trained(config, lived)
    saved.save(tmp_path / "s.npz")
    loaded = NeuralUCB.load(tmp_path / "s.npz")
    assert loaded.digest == saved.digest
    assert live(loaded, 2, 50) == live(saved, 2, 50)
    assert loaded.digest == saved.digest


def test_equal_states_are_equal_files_and_no_part_is_left(tmp_path) -> None:
    trained().save(tmp_path / "a.npz")
    trained().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_cut_or_foreign_file_is_refused(tmp_path) -> None:
    path = tmp_path / "s.npz"
    with pytest.raises(DataError, match="was no file"):
        NeuralUCB.load(path)
    trained().save(path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="expected a supervisor state"):
            NeuralUCB.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DataError, match="expected a supervisor state"):
        NeuralUCB.load(path)


def test_ties_go_to_the_lowest_arm_and_propensity_is_one() -> None:
    config = msgspec.structs.replace(SMALL, exploration=0.0)
    routes = NeuralUCB(config, seed=0).select(contexts_of(0, 5), list("ABCDE"), everyone(5))
    assert [(r.symbol, r.arm, r.propensity) for r in routes] == [(s, 0, 1.0) for s in "ABCDE"]


def test_a_batch_selects_as_its_rows_would_alone() -> None:
    learner, contexts = trained(), contexts_of(9, 20)
    together = learner.select(contexts, ["A"] * 20, everyone(20))
    alone = [learner.select(c[None], ["A"], everyone(1))[0] for c in contexts]
    assert [r.arm for r in together] == [r.arm for r in alone]
    assert learner.select(np.empty((0, 16)), [], everyone(0)) == []


def test_faulty_contexts_and_feedback_are_refused() -> None:
    learner, good = NeuralUCB(SMALL, seed=0), contexts_of(0, 1)
    before = learner.digest
    with pytest.raises(DataError, match=r"shape \(2, 16\)"):
        learner.select(good, ["A", "B"], everyone(2))
    bad = good.copy()
    bad[0, 3] = np.nan
    with pytest.raises(DataError, match="infinite for A"):
        learner.select(bad, ["A"], everyone(1))
    with pytest.raises(DataError, match=r"0\.\.6, was 7"):
        learner.update(good[0], 7, 0.0)
    with pytest.raises(DataError, match=r"evidence of shape \(1, 3\)"):
        learner.select(good, ["A"], everyone(2))
    with pytest.raises(DataError, match="finite"):
        learner.update(good[0], 1, float("nan"))
    assert learner.digest == before


def test_full_precision_of_a_large_net_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 4096 parameters"):
        NeuralUCB(SupervisorSettings(precision="full"), seed=0)


def test_offline_training_recovers_the_best_routes_and_reports_progress() -> None:
    contexts = contexts_of(0, 1500)
    routes = UniformRouter(seed=0).select(contexts, ["A"] * 1500, everyone(1500))
    rewards = [float(r.arm == (0 if r.context[0] > 0.5 else 5)) for r in routes]
    seen: list[tuple[int, float]] = []
    learner = train_offline(
        Trajectories(
            contexts=np.array([route.context for route in routes]),
            actions=np.array([route.arm for route in routes]),
            rewards=np.array(rewards),
            propensities=np.array([route.propensity for route in routes]),
        ),
        SupervisorSettings(hidden=32),
        seed=0,
        epochs=30,
        progress=lambda epoch, error: seen.append((epoch, error)),
    )
    assert [epoch for epoch, _ in seen] == list(range(1, 31))
    assert seen[-1][1] < 0.5 * seen[0][1]
    probe = contexts_of(7, 400)
    probe = probe[np.abs(probe[:, 0] - 0.5) > 0.1]
    mean, _ = learner.estimate(probe)
    assert np.mean(mean.argmax(axis=1) == np.where(probe[:, 0] > 0.5, 0, 5)) > 0.95
    assert learner.rounds == 47
    assert learner.updates == 1500


def test_offline_training_refuses_nothing_and_impossible_propensities() -> None:
    with pytest.raises(DataError, match="at least one"):
        train_offline(Trajectories(np.empty((0, 16)), *(np.empty(0),) * 3), SMALL, seed=0)
    one = Trajectories(contexts_of(0, 1), np.array([1]), np.array([0.5]), np.array([0.0]))
    with pytest.raises(DataError, match="propensity in"):
        train_offline(one, SMALL, seed=0)


def test_linucb_equals_ridge_regression() -> None:
    contexts = contexts_of(0, 60)
    linear = LinUCB(alpha=0.0)
    rewards = contexts @ np.linspace(-1.0, 1.0, 16)
    for context, reward in zip(contexts, rewards, strict=True):
        linear.update(context, 3, float(reward))
    x = np.concatenate([contexts, np.ones((60, 1))], axis=1)
    theta = np.linalg.solve(np.eye(17) + x.T @ x, x.T @ rewards)
    probe = contexts_of(1, 1)
    score = linear.select(probe, ["A"], everyone(1))[0].scores[3]
    assert score == pytest.approx(float(np.append(probe[0], 1.0) @ theta))


def test_routers_that_learn_nothing_say_with_what_chance_they_chose() -> None:
    contexts = contexts_of(0, 700)
    names = ["A"] * 700
    uniform = UniformRouter(seed=1).select(contexts, names, everyone(700))
    assert {r.propensity for r in uniform} == {1.0 / 7.0}
    assert np.bincount([r.arm for r in uniform], minlength=7).min() > 70
    assert {r.arm for r in AlwaysAll().select(contexts, names, everyone(700))} == {6}


EVERY_EVIDENCE = np.array(list(product((False, True), repeat=3)))


@pytest.mark.parametrize("router", [trained(), LinUCB(0.2), UniformRouter(2), AlwaysAll()])
def test_a_route_asks_only_juniors_with_evidence(router: Supervisor) -> None:
    symbols = [f"S{k}" for k in range(800)]
    evidence = np.tile(EVERY_EVIDENCE, (100, 1))
    routes = router.select(contexts_of(3, 800), symbols, evidence)
    known = dict(zip(symbols, evidence, strict=True))
    assert [r.symbol for r in routes] == [s for s in symbols if known[s].any()]
    seen: dict[int, set[int]] = {}
    for route in routes:
        who = {j for j, has in zip(JUNIORS, known[route.symbol], strict=True) if has}
        assert set(route.juniors) <= who
        may = [set(juniors) <= who for juniors in ROUTES]
        assert [score is not None for score in route.scores] == may
        chance = 1.0 / sum(may) if isinstance(router, UniformRouter) else 1.0
        assert route.propensity == pytest.approx(chance)
        seen.setdefault(sum(may), set()).add(route.arm)
        if isinstance(router, AlwaysAll):
            assert set(route.juniors) == who
    if isinstance(router, UniformRouter):
        assert seen[7] == set(range(7))
    assert msgspec.json.decode(msgspec.json.encode(routes), type=list[Route]) == routes


def test_a_masked_best_arm_leaves_the_choice_to_the_best_of_the_rest() -> None:
    learner, contexts = trained(), contexts_of(9, 60)
    free = learner.select(contexts, ["A"] * 60, everyone(60))
    masked = learner.select(contexts, ["A"] * 60, np.tile([False, True, True], (60, 1)))
    assert any("news" in r.juniors for r in free)
    for before, after in zip(free, masked, strict=True):
        rest = {arm: x for arm, x in enumerate(before.scores) if "news" not in ROUTES[arm]}
        assert after.arm == max(rest, key=lambda arm: rest[arm])


@pytest.mark.slow
def test_select_and_update_take_under_a_millisecond_with_training() -> None:
    learner, contexts = NeuralUCB(SupervisorSettings(), seed=0), contexts_of(0, 10_000)
    began = time.process_time()
    for context in contexts:
        arm = learner.select(context[None], ["A"], everyone(1))[0].arm
        learner.update(context, arm, float(context[arm]))
    assert (time.process_time() - began) / 10_000 < 1e-3
