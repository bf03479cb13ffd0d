"""The strategist: opinions in, proposals out."""

from agents.strategist.rules import RuleStrategist

__all__ = ["RuleStrategist"]
