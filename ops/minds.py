"""The minds of a run, put together from settings: the composition that `agents` leaves open."""

from __future__ import annotations

from pathlib import Path

from agents.allocator import build_baseline
from agents.hierarchy import Hierarchy
from agents.juniors import RuleFundamentalJunior, RuleNewsJunior, RuleTechnicalJunior
from agents.juniors.round import JuniorRound
from agents.strategist import RuleStrategist
from agents.supervisor.neural_ucb import NeuralUCB
from config.settings import Settings


def build_mind(settings: Settings, state: Path | None = None) -> Hierarchy:
    """Return the rule-backed hierarchy, on the fresh prior or on a snapshot's state."""
    mind = Hierarchy(
        supervisor=NeuralUCB.fresh(settings.supervisor, settings.seed),
        juniors=JuniorRound(
            {
                "news": RuleNewsJunior(),
                "technical": RuleTechnicalJunior(),
                "fundamental": RuleFundamentalJunior(),
            }
        ),
        strategist=RuleStrategist(),
        allocator=build_baseline(settings.allocator),
    )
    if state is not None:
        mind.load(state)
    return mind
