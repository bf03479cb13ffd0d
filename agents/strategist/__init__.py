"""The strategist: opinions in, proposals out."""

from agents.strategist.rule_strategist import RuleStrategist

__all__ = ["RuleStrategist"]
