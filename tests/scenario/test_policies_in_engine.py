"""What a policy sees in the engine, session by session, is what training shows it."""

from __future__ import annotations

import numpy as np

from agents.allocator import build_allocator
from agents.allocator.observation import bottom_shares, group_means, observe, top_budgets
from agents.allocator.policy_file import save_policy
from agents.allocator.trained import case_arrays
from agents.juniors.lexicon import sentiment
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from config.settings import AllocatorSettings, DeskSettings, LimitSettings, Settings
from learning.datasets.tensors import compute_tensors
from ops.composition.model_minds import build_mind
from tests.conftest import session
from tests.unit.agents.policies import card, network


class _Watched:
    """An allocator that keeps what it was asked and what it answered."""

    def __init__(self, allocator):
        self.allocator, self.models, self.policies = allocator, allocator.models, ()
        self.asked = []

    def allocate(self, case, panel, proposals):
        answer = self.allocator.allocate(case, panel, proposals)
        self.asked.append((case, answer))
        return answer


def test_the_engines_cases_are_the_tensors_of_training_and_so_are_the_weights(
    make_market, tmp_path
):
    market = make_market(sessions=100)
    made = {"groups": ("G0", "G1"), "gross": 0.95}
    save_policy(tmp_path / "top", network("top"), card("top", **made))
    save_policy(tmp_path / "bottom", network(), card(**made))
    settings = Settings(
        desk=DeskSettings(panel_sessions=60),
        limits=LimitSettings(min_history=20),
        allocator=AllocatorSettings(policies=str(tmp_path)),
    )
    mind = build_mind(settings)
    watched = mind.allocator = _Watched(build_allocator(settings.allocator, tmp_path))
    decide_from = session(70)[1]
    run_book(BookSpec("own", market, settings, decide_from), mind)

    tensors = compute_tensors(market, score=sentiment)
    place = {int(ts): t for t, ts in enumerate(tensors.ts)}
    group = np.array([0, 1, 0, 1])
    shortable = np.zeros(4, dtype=bool)
    norm = card().normaliser
    held = 0
    for case, answer in watched.asked:
        t = place[case.ts_init]
        arrays = case_arrays(case)
        features, macro = tensors.features[t].astype(np.float32), tensors.macro[t]
        shown = (arrays.weights, shortable, np.zeros(4), arrays.drawdown, norm)
        seen = observe(features, macro.astype(np.float32), *shown)
        own = arrays.observe(card(), {})
        assert own.instruments.tobytes() == seen.instruments.tobytes()
        assert own.market.tobytes() == seen.market.tobytes()
        budgets = _means(network("top"), group_means(seen.instruments, group, 2), seen.market)
        budgets = top_budgets(budgets, 0.95)
        full = observe(
            features, macro.astype(np.float32), arrays.weights, shortable, budgets[group],
            arrays.drawdown, norm,
        )  # fmt: skip
        for g in (0, 1):
            rows = np.flatnonzero(group == g)
            action = _means(network(), full.instruments[rows], full.market)
            expected = budgets[g] * bottom_shares(action, shortable[rows])
            weights = [answer.weights[arrays.symbols[i]] for i in rows]
            np.testing.assert_allclose(weights, expected, atol=1e-6)
        held += int((arrays.weights > 0.01).sum())
    assert len(watched.asked) == 30
    assert held > 50


def _means(net, rows, market):
    import torch

    with torch.no_grad():
        out = net(torch.from_numpy(rows)[None], torch.from_numpy(market)[None])
    return (out[0] if isinstance(out, tuple) else out)[0].numpy()
