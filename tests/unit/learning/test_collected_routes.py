"""All seven routes of the desk's own cases, kept, read back and trained on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from agents.messages import ROUTES
from backtest.market.market_data import MarketData, canonical
from backtest.simulator import load_simulated
from config.errors import DataError
from config.settings import Settings
from config.simulator import SimulatorSettings
from learning.supervisor.collect import CollectPlan, collect_routes, plan_collect
from learning.supervisor.table import RouteRow, read_meta, read_routes, write_routes
from learning.supervisor.train import fixed_route, train_supervisor
from ops.composition.model_minds import build_mind

SETTINGS = Settings(
    supervisor=msgspec.structs.replace(Settings().supervisor, hidden=16),
    desk=msgspec.structs.replace(Settings().desk, panel_sessions=60),
)
NUM = 7 * 4 * 30 - 3


@pytest.fixture(scope="module")
def market() -> MarketData:
    small = SimulatorSettings(instruments=4, sectors=2, sessions=120, warm_up=20)
    return canonical(load_simulated(small, seed=0))


@pytest.fixture(scope="module")
def plan(market: MarketData) -> CollectPlan:
    return plan_collect(market, SETTINGS, NUM, None)


@pytest.fixture(scope="module")
def rows(plan: CollectPlan) -> list[RouteRow]:
    return collect_routes(plan, SETTINGS, build_mind(SETTINGS), NUM)


@pytest.fixture(scope="module")
def file(rows: list[RouteRow], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("routes") / "routes.parquet"
    write_routes(path, rows, {"collection": "a"})
    return path


def test_every_case_has_its_seven_routes_and_whole_cases_are_kept(rows: list[RouteRow]) -> None:
    assert len(rows) == 7 * 4 * 30
    assert [row.arm for row in rows] == list(range(7)) * 120
    for k in range(0, len(rows), 7):
        case = rows[k : k + 7]
        assert len({(r.decision_id, r.symbol, r.ts, r.ts_closed, r.context) for r in case}) == 1
        may = [r for r in case if r.reward is not None]
        assert {r.propensity for r in may} == {1 / len(may)}
    assert all(row.ts_closed > row.ts for row in rows)


def test_a_route_that_asks_a_junior_without_evidence_has_no_reward(rows: list[RouteRow]) -> None:
    masked = 0
    for k in range(0, len(rows), 7):
        alone = {r.arm: r.reward is not None for r in rows[k : k + 3]}
        assert any(alone.values())
        for row in rows[k : k + 7]:
            members = [alone[ROUTES.index((name,))] for name in ROUTES[row.arm]]
            assert (row.reward is not None) == all(members)
            if row.reward is None:
                assert (row.conviction, row.tokens, row.propensity, row.hit) == (0.0, 0, 0.0, None)
                masked += 1
    assert 50 < masked < len(rows) - 50


def test_rewards_of_one_case_differ_only_by_conviction_and_cost(rows: list[RouteRow]) -> None:
    price = SETTINGS.supervisor.junior_price
    spoken = 0
    for k in range(0, len(rows), 7):
        per_conviction = [
            (r.reward + price * len(ROUTES[r.arm])) / r.conviction
            for r in rows[k : k + 7]
            if r.reward is not None and abs(r.conviction) > 1e-3
        ]
        assert np.ptp(per_conviction or [0.0]) < 1e-9
        spoken += len(per_conviction) > 1
    assert spoken > 20


def test_a_lone_junior_that_hits_earns_before_costs(rows: list[RouteRow]) -> None:
    lone = [r for r in rows if len(ROUTES[r.arm]) == 1]
    assert {r.hit for r in rows if len(ROUTES[r.arm]) > 1} == {None}
    assert {r.hit for r in lone} >= {True, False}


def test_the_plan_uses_no_more_sessions_than_the_cases_need(
    market: MarketData, plan: CollectPlan
) -> None:
    closes = plan.market.session_closes
    assert len(closes) < len(market.session_closes)
    assert sum(ts >= plan.decide_from for ts in closes) == 30 + 5


def test_more_trajectories_than_the_source_holds_are_refused(market: MarketData) -> None:
    with pytest.raises(DataError, match="at most --num"):
        plan_collect(market, SETTINGS, 10**6, None)


def test_a_table_comes_back_as_it_was_written(rows: list[RouteRow], file: Path) -> None:
    table = read_routes(file)
    assert len(table) == 120
    rewards = table.rewards.ravel()
    assert [None if r != r else r for r in rewards.tolist()] == [r.reward for r in rows]
    trajectories = table.trajectories()
    assert trajectories.rewards.tolist() == [r.reward for r in rows if r.reward is not None]
    assert trajectories.actions.tolist() == [r.arm for r in rows if r.reward is not None]
    assert table.contexts[5].tolist() == list(rows[35].context)
    assert table.meta == read_meta(file) == {"collection": "a"}
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_other_files_and_torn_cases_are_refused(rows: list[RouteRow], tmp_path: Path) -> None:
    assert read_meta(tmp_path / "none") is None
    with pytest.raises(DataError, match="was no file"):
        read_routes(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DataError, match="another file"):
        read_routes(tmp_path / "text")
    write_routes(tmp_path / "torn", rows[1:], {})
    with pytest.raises(DataError, match="routes of every case"):
        read_routes(tmp_path / "torn")
    plain = pq.read_table(tmp_path / "torn").replace_schema_metadata(None)
    pq.write_table(plain, tmp_path / "plain")
    with pytest.raises(DataError, match="another file"):
        read_routes(tmp_path / "plain")


def test_training_sees_no_outcome_that_closed_after_its_validation_began(file: Path) -> None:
    table = read_routes(file)
    trained = train_supervisor(table, SETTINGS.supervisor, 0, epochs=2, batch=32, lr=1e-3)
    first = trained.sessions[0]
    assert trained.learned_until < first
    assert trained.learned_until == table.ts_closed[table.ts_closed < first].max()
    assert len(trained.sessions) == 6
    assert (
        len(trained.hits)
        == trained.report["trained_on"]["cases"]
        == (table.ts_closed < first).sum()
    )
    routers = trained.report["routers"]
    assert routers["random"]["regret_share"] == pytest.approx(1.0)
    assert routers["always-all"]["against_always_all"] == 0.0
    after = table.take(table.ts >= first)
    widest = [max(np.flatnonzero(np.isfinite(row))) for row in after.rewards]
    paid = after.rewards[np.arange(len(after)), widest]
    assert routers["always-all"]["mean_reward"] == pytest.approx(paid.mean())
    assert routers["random"]["mean_reward"] == pytest.approx(
        np.nanmean(after.rewards, axis=1).mean()
    )


def test_a_fixed_route_asks_those_of_its_juniors_that_have_evidence() -> None:
    evidence = np.array([[True, True, True], [False, True, True], [False, False, True]])
    names = [("news", "technical"), ("technical",), ("fundamental",)]
    found = fixed_route(ROUTES.index(("news", "technical")), evidence)
    assert [ROUTES[arm] for arm in found] == names


def test_training_on_one_session_is_refused(rows: list[RouteRow], tmp_path: Path) -> None:
    write_routes(tmp_path / "short", rows[:28], {})
    with pytest.raises(DataError, match="more sessions"):
        train_supervisor(
            read_routes(tmp_path / "short"), SETTINGS.supervisor, 0, epochs=1, batch=8, lr=1e-3
        )
