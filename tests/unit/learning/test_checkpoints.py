import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from config.errors import ConfigError
from learning.allocator.training.checkpoints import (
    PATTERN,
    best,
    check_same_run,
    generator_states,
    latest,
    load,
    restore_generators,
    save_checkpoint,
    weights,
)

FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from config.errors import ConfigError
from learning.allocator.training.checkpoints import latest, save_checkpoint

folder = Path(sys.argv[1])
save_checkpoint(folder, 1, {"w": np.arange(8)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # the disk has room for no more
try:
    save_checkpoint(folder, 2, {"w": np.zeros(100_000)}, {})
except ConfigError as e:
    print(e)
print(latest(folder).step, *sorted(p.name for p in folder.iterdir()))
"""


def names(folder: Path) -> list[int]:
    return sorted(int(p.stem.removeprefix("step-")) for p in folder.glob(PATTERN))


def test_checkpoint_gives_back_an_optimiser_and_plain_values_as_they_were(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(layer.parameters())
    layer(torch.ones(4, 3)).sum().backward()
    adam.step()
    state = {
        "net": layer.state_dict(),
        "adam": adam.state_dict(),
        "at": np.arange(6, dtype=np.int64).reshape(2, 3).T,
        "on": np.array([True, False]),
        "empty": {},
        "plain": [1, 2.5, "x", None, (True, 2**100)],
    }
    save_checkpoint(tmp_path, 7, state, {"seed": 3}, score=0.5)
    found = latest(tmp_path)
    assert found is not None
    assert (found.step, found.score, found.meta) == (7, 0.5, {"seed": 3})
    assert found.state["plain"] == state["plain"]
    assert found.state["empty"] == {}
    np.testing.assert_array_equal(found.state["at"], state["at"])
    assert found.state["on"].dtype == np.bool_
    other = torch.nn.Linear(3, 2)
    other.load_state_dict(found.state["net"])
    resumed = torch.optim.Adam(other.parameters())
    resumed.load_state_dict(found.state["adam"])
    for one, two in ((layer, adam), (other, resumed)):
        one.zero_grad()
        one(torch.ones(4, 3)).square().sum().backward()
        two.step()
    assert all(
        torch.equal(a, b) for a, b in zip(layer.parameters(), other.parameters(), strict=True)
    )


def test_generators_go_on_where_they_were_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rng.standard_normal(3)
    save_checkpoint(tmp_path, 1, generator_states(rollout=rng), {})
    expected = rng.standard_normal(4), torch.rand(4)
    other = np.random.default_rng(0)
    found = latest(tmp_path)
    assert found is not None
    restore_generators(found.state, rollout=other)
    np.testing.assert_array_equal(other.standard_normal(4), expected[0])
    assert torch.equal(torch.rand(4), expected[1])


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, score in ((1, 0.1), (2, 0.9), (3, 0.3), (4, 0.2), (5, None)):
        save_checkpoint(tmp_path, step, {}, {}, score=score)
    assert names(tmp_path) == [2, 4, 5]
    chosen = best(tmp_path)
    assert chosen is not None
    assert chosen.step == 2


@pytest.mark.parametrize("damage", ["cut", "altered", "empty", "first line"])
def test_broken_newest_checkpoint_is_passed_over_with_a_note(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, 1, {"w": np.arange(50.0)}, {})
    path = save_checkpoint(tmp_path, 2, {"w": np.arange(50.0)}, {})
    content = bytearray(path.read_bytes())
    if damage == "altered":
        content[-5] ^= 1
    if damage == "first line":
        content[2] ^= 1
    kept = {"cut": len(content) // 2, "empty": 0}.get(damage, len(content))
    path.write_bytes(content[:kept])
    with pytest.raises(ConfigError, match="expected"):
        load(path)
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(found.notes) == 1
    assert path.name in found.notes[0]


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        ({"seed": 4, "phase": "graph", "clip": [1, 2]}, "seed"),
        ({"seed": 4, "phase": "macro", "clip": [1, 2]}, "phase, seed"),
        ({"seed": 3, "phase": "graph"}, "clip"),
        ({"seed": 3, "phase": "graph", "clip": [1, 2], "graph": None}, "graph"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_what_differs(
    tmp_path: Path, wanted: dict, other: str
) -> None:
    meta = {"seed": 3, "phase": "graph", "clip": (1, 2)}  # JSON gives a list back
    save_checkpoint(tmp_path, 1, {}, meta)
    found = latest(tmp_path)
    check_same_run(tmp_path, found.meta, meta)
    with pytest.raises(ConfigError, match=f"expected a run of the same {other}, was another"):
        check_same_run(tmp_path, found.meta, wanted)


def test_kept_weights_do_not_change_with_the_network() -> None:
    net = torch.nn.Linear(2, 1)
    kept = weights(net)
    with torch.no_grad():
        net.weight += 1.0
    assert torch.equal(kept["weight"] + 1.0, net.weight)


def test_full_disk_is_one_error_and_the_last_good_checkpoint_survives(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    error, left = run.stdout.splitlines()
    assert "expected to write" in error
    assert "step-000000000002.checkpoint, was: File too large" in error
    assert "the last good one is step 1" in error
    assert left == "1 step-000000000001.checkpoint"


def test_there_is_no_latest_checkpoint_where_nothing_was_saved(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    assert best(tmp_path / "missing") is None


def test_objects_that_would_need_code_to_load_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected a plain value"):
        save_checkpoint(tmp_path, 1, {"net": torch.nn.Linear(1, 1)}, {})
