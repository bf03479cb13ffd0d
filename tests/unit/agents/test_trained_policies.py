import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from agents.allocator import build_allocator, build_baseline
from agents.allocator.graph import SectorGraph, save_graph
from agents.allocator.networks import LOGIT_REGIMES, BottomNet
from agents.allocator.observation import (
    bottom_shares,
    flatten,
    group_means,
    observe,
    top_budgets,
    unflatten,
)
from agents.allocator.policy_file import save_policy
from agents.allocator.trained import case_arrays
from agents.arrays import Panel
from config.errors import ConfigError
from config.settings import AllocatorSettings
from tests.unit.agents.policies import GROUPS, MARKET, ROWS, arrays, card, case_of, network

ROOT = Path(__file__).parents[3]
SETTINGS = AllocatorSettings()
COUNT = 7


def _panel(sessions=252, short=()):
    returns = 0.01 * np.random.default_rng(5).standard_normal((sessions, COUNT))
    returns[:-30, list(short)] = np.nan
    return Panel(tuple(f"S{i:02d}" for i in range(COUNT)), returns)


@pytest.fixture
def policies(tmp_path):
    """Return a folder of a top policy and one bottom policy for all groups."""
    save_policy(tmp_path / "top", network("top"), card("top", gross=0.95))
    save_policy(tmp_path / "bottom", network(), card())
    return tmp_path


def _weights(allocation):
    return np.array([allocation.weights[f"S{i:02d}"] for i in range(COUNT)])


def _asked(top_action, bottom_action, gross=0.95, seed=0):
    """Return the weights that training's own arithmetic places: arrays in, weights out."""
    features, macro, weights, shortable, group = arrays(COUNT, seed)
    norm = card().normaliser
    seen = observe(features, macro, weights, shortable, np.zeros(COUNT), 0.05, norm)
    budgets = top_budgets(top_action(group_means(seen.instruments, group, 3), seen.market), gross)
    seen = observe(features, macro, weights, shortable, budgets[group], 0.05, norm)
    placed = np.zeros(COUNT)
    for g in range(3):
        rows = np.flatnonzero(group == g)
        action = bottom_action(seen.instruments[rows], seen.market)
        placed[rows] = budgets[g] * bottom_shares(action, shortable[rows])
    return budgets, placed


def _actor(net):
    def act(rows, market):
        with torch.no_grad():
            out = net(torch.from_numpy(rows)[None], torch.from_numpy(market)[None])
        return (out[0] if isinstance(out, tuple) else out)[0].numpy()

    return act


def test_a_cases_observation_is_that_of_its_arrays_to_the_bit():
    made = arrays(COUNT)
    case = case_of(*made, drawdown=0.05)
    features, macro, weights, shortable, group = made
    budgets = {"forex": 0.3, "index": 0.1}
    expected = observe(
        features.astype(np.float32), macro.astype(np.float32), weights, shortable,
        np.array([0.0, 0.3, 0.1])[group], 0.05, card().normaliser,
    )  # fmt: skip
    for instruments in (case.instruments, case.instruments[::-1]):
        mixed = msgspec.structs.replace(case, instruments=instruments)
        seen = case_arrays(mixed).observe(card(), budgets)
        assert seen.instruments.tobytes() == expected.instruments.tobytes()
        assert seen.market.tobytes() == expected.market.tobytes()


def test_both_tiers_place_what_the_trained_networks_ask_for(policies):
    allocator, shorts = build_allocator(SETTINGS, policies), 0
    for seed in range(5):
        allocation = allocator.allocate(case_of(*arrays(COUNT, seed)), _panel(), [])
        budgets, placed = _asked(_actor(network("top")), _actor(network()), seed=seed)
        assert [allocation.group_budgets[g] for g in GROUPS] == pytest.approx(budgets, abs=1e-6)
        assert _weights(allocation) == pytest.approx(placed, abs=1e-6)
        assert np.ptp(placed) > 0.01
        shorts += int((placed < 0.0).sum())
        assert (allocation.top_policy, allocation.bottom_policy) == ("ppo-top", "ppo-bottom")
        assert allocation.regime == "bear"
    assert shorts > 0


class _FlatActor(torch.nn.Module):
    """An actor as stable-baselines3 has them: a vector in, our network inside, a critic beside."""

    def __init__(self, count):
        super().__init__()
        self.count = count
        self.mean_net = BottomNet(ROWS, MARKET, (16, 16))
        self.value_net = torch.nn.Linear(count * ROWS + MARKET, 1)
        self.log_std = torch.nn.Parameter(torch.zeros(count))

    def predict(self, vector):
        seen = unflatten(vector, self.count)
        with torch.no_grad():
            means = self.mean_net(
                torch.from_numpy(seen.instruments), torch.from_numpy(seen.market)
            )
        return means.numpy().clip(-1.0, 1.0)


def test_an_actor_that_was_trained_on_vectors_trades_as_it_was_trained(tmp_path):
    torch.manual_seed(3)
    actor = _FlatActor(3)
    with torch.no_grad():
        actor.mean_net.head.weight.mul_(100.0)
    exported = BottomNet(ROWS, MARKET, (16, 16))
    exported.load_state_dict(actor.mean_net.state_dict())
    own = card(name="ppo-commodity", group="commodity")
    save_policy(tmp_path / "top", network("top"), card("top"))
    save_policy(tmp_path / "bottom-commodity", exported, own)
    allocator = build_allocator(SETTINGS, tmp_path)

    made = arrays(COUNT)
    allocation = allocator.allocate(case_of(*made, regime="bull"), _panel(), [])
    features, macro, weights, shortable, group = made
    budget = allocation.group_budgets["commodity"]
    seen = observe(
        features, macro, weights, shortable,
        np.array([allocation.group_budgets[GROUPS[g]] for g in group]), 0.05, own.normaliser,
    )  # fmt: skip
    rows = np.flatnonzero(group == 0)
    alone = type(seen)(seen.instruments[rows], seen.market)
    shares = bottom_shares(actor.predict(flatten(alone)[None])[0], shortable[rows])
    assert _weights(allocation)[rows] == pytest.approx(budget * shares, abs=1e-6)
    assert allocation.bottom_policy == "ppo-commodity, black-litterman-baseline"


def test_groups_without_a_policy_of_their_own_are_placed_by_the_other_one(tmp_path):
    save_policy(tmp_path / "top", network("top"), card("top"))
    baseline = build_allocator(SETTINGS, tmp_path).allocate(case_of(*arrays()), _panel(), [])
    save_policy(tmp_path / "bottom-forex", network(seed=1), card(group="forex", name="fx"))
    one = build_allocator(SETTINGS, tmp_path).allocate(case_of(*arrays()), _panel(), [])
    forex = arrays()[4] == 1
    assert np.array_equal(_weights(one)[~forex], _weights(baseline)[~forex])
    assert not np.array_equal(_weights(one)[forex], _weights(baseline)[forex])


def test_an_instrument_without_history_enough_is_given_nothing_and_its_share_to_no_one(policies):
    allocator, case = build_allocator(SETTINGS, policies), case_of(*arrays())
    whole = _weights(allocator.allocate(case, _panel(), []))
    short = _weights(allocator.allocate(case, _panel(short=[3]), []))
    assert whole[3] != 0.0
    assert short[3] == 0.0
    rest = np.arange(COUNT) != 3
    assert np.array_equal(short[rest], whole[rest])


def test_a_top_that_was_trained_to_tell_the_regime_tells_it(tmp_path):
    net = network("top")
    save_policy(tmp_path / "top", net, card("top", regimes=True))
    told = set()
    for seed in range(8):
        features, macro, weights, shortable, group = made = arrays(COUNT, seed)
        allocation = build_allocator(SETTINGS, tmp_path).allocate(case_of(*made), _panel(), [])
        seen = observe(
            features, macro, weights, shortable, np.zeros(COUNT), 0.05, card().normaliser
        )
        rows = group_means(seen.instruments, group, 3)
        with torch.no_grad():
            _, logits = net(torch.from_numpy(rows)[None], torch.from_numpy(seen.market)[None])
        assert allocation.regime == LOGIT_REGIMES[int(logits.argmax())]
        told.add(allocation.regime)
    assert len(told) > 1


def test_a_top_with_a_graph_sees_the_sectors_embeddings(tmp_path):
    torch.manual_seed(0)
    graph = SectorGraph().eval()
    save_graph(tmp_path / "graph.safetensors", graph)
    net = network("top", embeddings=64)
    folder = tmp_path / "policies"
    save_policy(folder / "top", net, card("top", embeddings=True), tmp_path / "graph.safetensors")
    panel = _panel(short=[2])
    budgets = build_allocator(SETTINGS, folder).allocate(case_of(*arrays()), panel, [])

    def act(rows, market):
        around = graph.embed(panel.returns, arrays()[4], 3)
        return _actor(net)(np.concatenate([rows, around], axis=-1), market)

    expected, _ = _asked(act, _actor(network()), gross=1.0)
    assert [budgets.group_budgets[g] for g in GROUPS] == pytest.approx(expected, abs=1e-6)

    (folder / "top" / "graph.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"graph\.safetensors: expected SHA-256"):
        build_allocator(SETTINGS, folder)


def test_networks_are_asked_on_one_thread_and_others_keep_theirs(policies):
    allocator, case = build_allocator(SETTINGS, policies), case_of(*arrays())
    answers, asked, before = set(), set(), torch.get_num_threads()
    for net in (allocator.top.net, allocator.bottom.net):
        net.register_forward_hook(lambda *_: asked.add(torch.get_num_threads()))
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            answers.add(msgspec.json.encode(allocator.allocate(case, _panel(), [])))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(answers) == 1
    assert asked == {1}


def test_the_settings_gross_bounds_what_a_policy_shares(policies):
    allocator = build_allocator(AllocatorSettings(gross=0.2), policies)
    allocation = allocator.allocate(case_of(*arrays()), _panel(), [])
    assert sum(allocation.group_budgets.values()) <= 0.2 + 1e-9
    assert allocation.group_budgets != {}


def test_every_trained_policy_is_named_with_its_digest(policies):
    allocator = build_allocator(SETTINGS, policies)
    top, bottom = sorted(allocator.policies, key=lambda c: c.kind, reverse=True)
    prior = {"allocator-prior-ic": "news 0.02, technical 0.02, fundamental 0.02"}
    assert allocator.models == prior | {
        "allocator-top": f"ppo-top {top.digest}",
        "allocator-bottom": f"ppo-bottom {bottom.digest}",
    }
    assert build_baseline(SETTINGS).models == prior | {
        "allocator-top": "hrp-baseline",
        "allocator-bottom": "black-litterman-baseline",
    }


def test_groups_that_a_policy_never_saw_are_refused(policies):
    save_policy(policies / "top", network("top"), card("top", groups=("forex", "index")))
    with pytest.raises(ConfigError, match=r"groups of 'ppo-top' \(forex, index\), was commodity"):
        build_allocator(SETTINGS, policies).allocate(case_of(*arrays()), _panel(), [])


@pytest.mark.parametrize(
    ("place", "made", "message"),
    [
        ("else", card(), r"expected policies \(top, bottom, bottom-<group>\) in .*, was none"),
        ("top", card(), "expected a policy for top in .*, was bottom"),
        ("bottom-forex", card(group="index"), "for bottom-forex in .*, was bottom-index"),
        ("bottom-index", card(), "for bottom-index in .*, was bottom"),
    ],
)
def test_a_policy_in_anothers_place_is_refused(place, made, message, tmp_path):
    save_policy(tmp_path / place, network(), made)
    with pytest.raises(ConfigError, match=message):
        build_allocator(SETTINGS, tmp_path)


def test_policies_of_two_books_are_refused(policies):
    save_policy(policies / "bottom", network(), card(book="equity"))
    with pytest.raises(ConfigError, match=r"policies of one book in .*, was equity, multi-asset"):
        build_allocator(SETTINGS, policies)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"expected policies .* in .*nowhere, was none"):
        build_allocator(SETTINGS, tmp_path / "nowhere")


SCRIPT = """
import sys
import agents.allocator
from config.settings import AllocatorSettings
agents.allocator.build_allocator(AllocatorSettings())
assert not {"torch", "safetensors", "skfolio", "stable_baselines3"} & set(sys.modules)
"""


def test_without_policies_torch_is_not_loaded():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
