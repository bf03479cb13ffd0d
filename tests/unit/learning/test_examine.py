"""Policies on a market of other groups than they were trained on: left out, or refused."""

from dataclasses import replace

import pytest

from agents.allocator.policy_file import save_policy
from config.errors import ConfigError
from learning.allocator.evaluation.examine import EQUAL_BUDGETS, examine
from learning.datasets.windows import Window
from tests.learning.made_dataset import GROUPS, LOOSE, made_dataset
from tests.unit.agents.policies import card, network

WINDOWS = (Window(0, 65, 135),)


@pytest.fixture
def training(tmp_path):
    """Return a maker of a training's two phases: specialists of groups, and a top over them."""

    def make(*groups):
        specialists = {}
        for group in groups:
            made = card(groups=groups, group=group)
            save_policy(tmp_path / made.slot, network(), made)
            specialists[made.slot] = tmp_path / made.slot
        save_policy(tmp_path / "top", network("top"), card("top", groups=groups))
        whole = {**specialists, "top": tmp_path / "top"}
        return {"specialists": specialists, "meta": whole}

    return make


def test_a_missing_group_leaves_its_specialist_out_and_the_book_is_still_examined(
    training, make_market
):
    dataset = made_dataset(make_market)
    every, _ = examine(dataset, WINDOWS, LOOSE, [training(*GROUPS, "third")], seed=0)
    assert set(every.evaluations) == {"book", *GROUPS}
    names = {evaluation.name for evaluation in every.evaluations["book"]}
    assert {EQUAL_BUDGETS, "meta"} <= names


def test_a_group_that_no_policy_was_trained_on_is_refused(training, make_market):
    dataset = replace(made_dataset(make_market), groups=("first", "other"))
    with pytest.raises(ConfigError, match=r"the groups of 'ppo-bottom' \(first, second\), was"):
        examine(dataset, WINDOWS, LOOSE, [training(*GROUPS)], seed=0)
