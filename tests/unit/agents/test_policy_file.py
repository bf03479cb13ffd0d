import errno
import json
import os
import shutil

import msgspec
import numpy as np
import pytest
import torch

from agents.allocator.networks import BottomNet
from agents.allocator.policy_file import CARD_FILE, WEIGHTS_FILE, load_policy, save_policy
from config.errors import ConfigError
from config.files import whole
from tests.unit.agents.policies import MARKET, ROWS, card, network


def _rows(count, batch=3, seed=1):
    torch.manual_seed(seed)
    return torch.randn(batch, count, ROWS), torch.randn(batch, MARKET)


@pytest.fixture
def policy(tmp_path):
    save_policy(tmp_path / "bottom", network(), card())
    return tmp_path / "bottom"


@pytest.mark.parametrize("kind", ["top", "bottom"])
def test_a_policy_comes_back_as_it_was_kept(kind, tmp_path):
    net = network(kind)
    kept = save_policy(tmp_path / "p", net, card(kind))
    again, read = load_policy(tmp_path / "p")
    rows = _rows(4)
    assert read == kept
    assert read.digest == kept.digest
    before, after = net(*rows), again(*rows)
    for old, new in zip(before, after, strict=True) if kind == "top" else [(before, after)]:
        assert torch.equal(old, new)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["p", CARD_FILE, WEIGHTS_FILE]


def test_equal_policies_are_equal_bytes_and_any_change_is_another_digest(tmp_path):
    first = save_policy(tmp_path / "a", network(), card())
    save_policy(tmp_path / "b", network(), card())
    for name in (CARD_FILE, WEIGHTS_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert save_policy(tmp_path / "b", network(seed=1), card()).digest != first.digest
    assert save_policy(tmp_path / "b", network(), card(gross=0.5)).digest != first.digest


def test_a_permutation_of_instruments_permutes_the_answer_and_any_number_may_be_asked():
    net = network()
    rows, market = _rows(6)
    order = [3, 0, 5, 1, 4, 2]
    assert torch.allclose(net(rows, market)[:, order], net(rows[:, order], market), atol=1e-6)
    assert net(*_rows(1)).shape == (3, 1)
    assert net(*_rows(90)).shape == (3, 90)


def test_codes_and_head_make_the_answer():
    net, rows = network(), _rows(4)
    assert torch.equal(net.head(net.encode(*rows)).squeeze(-1), net(*rows))
    top = network("top")
    means, logits = top(*rows)
    encoded = top.encode(*rows)
    assert torch.equal(top.head(encoded).squeeze(-1), means)
    assert torch.equal(top.regimes(encoded), logits)
    assert (means.shape, logits.shape) == ((3, 4), (3, 3))


def _rewrite(folder, **changes):
    path = folder / CARD_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _truncate(folder):
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-4])


def _flip(folder):
    path = folder / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "expected a policy at .*policy.json, was: No such file"),
        (lambda p: (p / CARD_FILE).unlink(), "expected a policy at .*policy.json, was: No such"),
        (lambda p: (p / WEIGHTS_FILE).unlink(), "expected .*policy.safetensors, was: No such"),
        (_truncate, "policy.safetensors: expected SHA-256 [0-9a-f]{12}, was [0-9a-f]{12}"),
        (_flip, "policy.safetensors: expected SHA-256 [0-9a-f]{12}, was [0-9a-f]{12}"),
        (lambda p: _rewrite(p, observation_version=2), "expected observation version 1, was 2"),
        (lambda p: _rewrite(p, inputs=["a"]), "expected this version's inputs, was a, "),
        (lambda p: _rewrite(p, format=2), "expected a policy's card in .*was: Invalid enum"),
        (lambda p: _rewrite(p, extra=1), "expected a policy's card in .*unknown field `extra`"),
        (lambda p: _rewrite(p, group="x"), "expected a policy's card in .*expected a group of"),
        (
            lambda p: _rewrite(p, action_transform="tanh"),
            "card in .*was: Invalid enum",
        ),
        (lambda p: _rewrite(p, files={}), "expected the SHA-256 of policy.safetensors, was of"),
        (lambda p: _rewrite(p, hidden=[8]), "expected the weights of 'ppo-bottom' in"),
        (lambda p: (p / CARD_FILE).write_text("{"), "expected a policy's card in .*was: Input"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_in_one_line(policy, spoil, message):
    spoil(policy)
    with pytest.raises(ConfigError, match=message) as refused:
        load_policy(policy)
    assert "\n" not in str(refused.value)


def test_a_network_that_is_not_the_cards_is_not_kept(tmp_path):
    with pytest.raises(ValueError, match="expected the network of a bottom card"):
        save_policy(tmp_path / "p", BottomNet(ROWS, MARKET, (16,)), card())
    with pytest.raises(ValueError, match="expected the network of a bottom card"):
        save_policy(tmp_path / "p", network("top"), card())
    with pytest.raises(ValueError, match="expected a graph file with embeddings"):
        save_policy(tmp_path / "p", network("top", embeddings=64), card("top", embeddings=True))
    assert not any(tmp_path.iterdir())


def test_a_policy_whose_training_diverged_is_refused(tmp_path):
    net = network()
    with torch.no_grad():
        net.head.bias.fill_(float("nan"))
    save_policy(tmp_path / "p", net, card())
    with pytest.raises(ConfigError, match="expected finite weights of 'ppo-bottom' in"):
        load_policy(tmp_path / "p")


def test_a_disk_that_fills_up_leaves_the_policy_that_was_there(policy, monkeypatch):
    before = {p.name: p.read_bytes() for p in policy.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"expected to write .*bottom, was: No space left"):
        save_policy(policy, network(seed=5), card())
    assert {p.name: p.read_bytes() for p in policy.iterdir()} == before
    assert [p.name for p in policy.parent.iterdir()] == ["bottom"]


def test_a_policy_that_could_not_be_put_in_place_leaves_the_one_that_was(policy, monkeypatch):
    before = {p.name: p.read_bytes() for p in policy.iterdir()}
    monkeypatch.setattr(whole, "_renameat2", lambda one, other: errno.EIO)
    with pytest.raises(ConfigError, match=r"expected to write .*bottom, was: Input/output"):
        save_policy(policy, network(seed=5), card())
    assert {p.name: p.read_bytes() for p in policy.iterdir()} == before
    assert [p.name for p in policy.parent.iterdir()] == ["bottom"]


def test_a_policy_takes_the_place_of_one_that_is_there(policy):
    save_policy(policy, network(seed=5), card(name="better"))
    net, read = load_policy(policy)
    assert read.name == "better"
    assert torch.equal(net.head.weight, network(seed=5).head.weight)


def test_a_card_survives_storage(tmp_path):
    made = card("top", gross=0.95, regimes=True)
    assert msgspec.json.decode(msgspec.json.encode(made), type=type(made)) == made
    assert np.isfinite(made.normaliser.feature_std).all()
