"""
Plans a run: its market, the stamp from which it decides, and its identity.

It runs nothing; `backtest.run` does.
"""

import platform
from dataclasses import dataclass
from typing import Any

import msgspec

from agents.protocols import LearningMind
from backtest.identity import Completions, RunMode, run_id_of, run_identity
from backtest.market.market_data import MarketData
from backtest.market.tradable import deciding
from backtest.policies import check_policies, policy_facts
from config.settings import Settings


@dataclass(frozen=True)
class RunPlan:
    """What will be run: the windowed market, the first deciding stamp and the run's identity."""

    market: MarketData
    settings: Settings
    mind: LearningMind
    decide_from: int
    run_id: str
    manifest: dict[str, Any]

    @property
    def sessions(self) -> int:
        """How many sessions each book goes through."""
        return len(self.market.session_closes)


def plan_run(
    market: MarketData,
    settings: Settings,
    mind: LearningMind,
    start_state: str,
    start_ns: int | None,
    *,
    mode: RunMode = "backtest",
    completions: Completions | None = None,
) -> RunPlan:
    """
    Return the plan of a run that decides from `start_ns` on.

    `start_state` names the state that `mind` was built on, `mode` who runs the book;
    `completions` says where language models' answers may come from. What makes the run's
    identity is in `backtest.identity`.
    Raises ConfigError where the mind's policies were not trained on the market's groups,
    DataError where no session is left to trade in.
    """
    kept, decide_from = deciding(market, start_ns, warmup_sessions(settings))
    check_policies(mind.policies, kept)
    identity = run_identity(
        mode=mode,
        data_digest=kept.digest,
        decide_from=decide_from,
        settings=settings,
        mind=mind,
        completions=completions,
    )
    run_id = run_id_of(identity)
    manifest = {
        "run_id": run_id,
        **identity,
        "start_state": start_state,
        "learned_until": mind.learned_until,
        "policies": policy_facts(mind.policies),
        "data": {
            "name": market.name,
            "digest": kept.digest,
            "source_digest": market.source_digest,
            "price_basis": market.price_basis,
        },
        "instruments": msgspec.to_builtins(kept.instruments),
        "python": platform.python_version(),
        "config": msgspec.to_builtins(settings),
    }
    return RunPlan(kept, settings, mind, decide_from, run_id, manifest)


def warmup_sessions(settings: Settings) -> int:
    """Return how many sessions before the first decision the features are given."""
    return settings.desk.panel_sessions + 1
