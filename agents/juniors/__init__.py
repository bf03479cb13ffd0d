"""The juniors: one analyst for each kind of evidence, all with one interface."""

from agents.juniors.fundamental import RuleFundamentalJunior
from agents.juniors.lexicon import sentiment
from agents.juniors.news import RuleNewsJunior
from agents.juniors.technical import RuleTechnicalJunior

__all__ = ["RuleFundamentalJunior", "RuleNewsJunior", "RuleTechnicalJunior", "sentiment"]
