from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from agents.allocator.networks import BottomNet, SetEncoder, TopNet
from agents.allocator.observation import (
    BUDGET_UNIT,
    INSTRUMENT_INPUTS,
    MARKET_INPUTS,
    Normaliser,
    Observation,
    group_means,
)
from agents.allocator.policy_file import PolicyCard, save_policy
from agents.messages import TrainingRecord
from config.errors import ConfigError
from learning.allocator.training.joint.joint_net import (
    BUDGET,
    EarlierPolicies,
    Layout,
    SharedNet,
    View,
    side_by_side,
    view,
)

SHAPES = len(INSTRUMENT_INPUTS), len(MARKET_INPUTS)
GROUP = np.array([0, 1, 0, 1, 1])
BOOK = SimpleNamespace(groups=("down", "up"), group=GROUP)
HIDDEN = (8, 6)
CARD = PolicyCard(
    kind="top",
    book="multi-asset",
    name="given",
    groups=BOOK.groups,
    hidden=HIDDEN,
    normaliser=Normaliser(
        feature_mean=(0.0,) * 22,
        feature_std=(1.0,) * 22,
        macro_mean=(0.0,) * 18,
        macro_std=(1.0,) * 18,
    ),
    trained=TrainingRecord(source="made", digest="made", first_ts=0, last_ts=1),
)


def layout(*, one: bool = False) -> Layout:
    heads = (("*", (0, 1)),) if one else (("down", (0,)), ("up", (1,)))
    return Layout(torch.tensor(GROUP), 2, heads, (True, False)[: len(heads)])


def earlier_policies(chart: Layout, embedding: int) -> Any:
    """Return untrained policies whose heads are as large as trained ones', and not alike."""
    torch.manual_seed(3)
    nets = [BottomNet(*SHAPES, HIDDEN, holds=holds) for holds in chart.holds]
    top = TopNet(SHAPES[0] + embedding, SHAPES[1], (5, 7))
    for net in (top, *nets):
        torch.nn.init.normal_(net.head.weight)
    return SimpleNamespace(layout=chart, top_net=top, nets=nets)


def close(got: Any, wanted: Any) -> None:
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0.0)


def seen(chart: Layout, embedding: int = 0) -> tuple[View, Observation]:
    rng = np.random.default_rng(0)
    observation = Observation(
        rng.standard_normal((7, 5, SHAPES[0])).astype(np.float32),
        rng.standard_normal((7, SHAPES[1])).astype(np.float32),
    )
    observation.instruments[..., BUDGET] = 0.0
    extra = rng.standard_normal((7, 2, embedding)).astype(np.float32) if embedding else None
    return view(observation, extra, chart), observation


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("embedding", [0, 4])
def test_shared_net_begins_as_the_earlier_policies_and_is_exported_as_it_answers(
    one: bool, embedding: int
) -> None:
    earlier = earlier_policies(layout(one=one), embedding)
    chart = earlier.layout
    net = SharedNet(earlier, 0.2, 0.2)
    given, _ = seen(chart, embedding)
    given = given.with_budgets(torch.rand(7, 2), chart.group)
    for top, bottom_policies in ((earlier.top_net, earlier.nets), net.export()):
        with torch.no_grad():
            close(net.top(given), top(given.top, given.market))
            for h, (_, groups) in enumerate(chart.heads):
                means = net.bottom(given, h)
                of = chart.group[chart.members(h)]
                for group in groups:
                    own = bottom_policies[h](given.rows[:, chart.group == group], given.market)
                    close(means[:, of == group], own)


def test_exported_tiers_answer_as_a_shared_net_that_learned_does() -> None:
    chart = layout()
    net = SharedNet(earlier_policies(chart, 4), 0.2, 0.2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    given, _ = seen(chart, 4)
    top, bottom_policies = net.export()
    with torch.no_grad():
        close(net.top(given), top(given.top, given.market))
        for h in range(2):
            close(
                net.bottom(given, h),
                bottom_policies[h](given.rows[:, chart.group == h], given.market),
            )


def test_encoders_of_several_depths_are_not_put_side_by_side() -> None:
    with pytest.raises(ValueError, match="expected encoders of one depth"):
        side_by_side([SetEncoder(*SHAPES, (4,)), SetEncoder(*SHAPES, (4, 4))], SHAPES[0])


def test_view_has_the_means_that_a_top_policy_trades_on() -> None:
    given, observation = seen(layout())
    rows = group_means(observation.instruments, GROUP.tolist(), 2)
    np.testing.assert_allclose(given.top.numpy(), rows, atol=1e-6)


def test_budgets_reach_the_bottoms_and_not_the_top() -> None:
    chart = layout()
    given, _ = seen(chart)
    told = given.with_budgets(torch.tensor([[0.1, 0.2]]).repeat(7, 1), chart.group)
    expected = np.where(GROUP == 1, 0.2, 0.1) / BUDGET_UNIT
    np.testing.assert_allclose(told.rows[0, :, BUDGET].numpy(), expected, rtol=1e-6)
    assert torch.equal(told.top, given.top)
    assert not given.rows[..., BUDGET].any()


def test_parts_are_disjoint_and_complete() -> None:
    net = SharedNet(earlier_policies(layout(), 0), 0.2, 0.2)
    parts = [id(p) for part in net.parts.values() for p in part]
    assert sorted(parts) == sorted(id(p) for p in net.parameters())


def save(folder: Path, **changes: object) -> Path:
    card = msgspec.structs.replace(CARD, **changes)
    kind = TopNet if card.kind == "top" else BottomNet
    save_policy(folder, kind(*SHAPES, card.hidden), card)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": "down", "hidden": (4,)}, "expected 2 hidden layers"),
        ({"group": "*"}, "expected a bottom policy for down, up"),
        (
            {
                "group": "down",
                "normaliser": msgspec.structs.replace(CARD.normaliser, macro_mean=(1.0,) * 18),
            },
            "expected one normaliser",
        ),
    ],
)
def test_policies_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    top = save(tmp_path / "top")
    down = save(tmp_path / "down", kind="bottom", **changes)
    up = save(tmp_path / "up", kind="bottom", group="up")
    with pytest.raises(ConfigError, match=message):
        EarlierPolicies(BOOK, top, {"down": down, "up": up})


def test_top_policy_in_a_bottoms_place_is_refused(tmp_path: Path) -> None:
    top = save(tmp_path / "top")
    with pytest.raises(ConfigError, match="expected a BottomNet"):
        EarlierPolicies(BOOK, top, {"down": top, "up": top})
