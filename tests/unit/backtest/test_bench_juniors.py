import math
import statistics

import pytest

from agents.juniors.fundamental import RuleFundamentalJunior
from agents.juniors.news import RuleNewsJunior
from agents.juniors.technical import RuleTechnicalJunior
from backtest.sources import open_source
from config.settings import load_settings
from ops.bench.juniors import junior_records

JUNIORS = {j.name: j for j in (RuleNewsJunior(), RuleTechnicalJunior(), RuleFundamentalJunior())}
WARM_UP = 252
SEEDS = (0, 1, 2, 3)


@pytest.mark.slow
def test_cards_are_what_the_juniors_come_to_on_simulated_markets():
    settings = load_settings("simulator", environ={})
    found = {name: [] for name in JUNIORS}
    for seed in SEEDS:
        for record in junior_records(
            open_source("simulator", seed=seed), settings, JUNIORS, WARM_UP
        ):
            assert record.outcomes > 100
            found[record.junior].append(record.rank_ic)
    for name, ics in found.items():
        mean, error = statistics.mean(ics), statistics.stdev(ics) / math.sqrt(len(SEEDS))
        print(f"{name}: rank IC {mean:+.3f} ± {error:.3f}, card {JUNIORS[name].simulated_ic:+.3f}")
        assert abs(mean - JUNIORS[name].simulated_ic) < 0.03
