from types import SimpleNamespace

import numpy as np
import pytest

from config.allocator import CurriculumSettings, EpisodeSettings
from learning.allocator.training.joint.curriculum import Curriculum, stretches, turbulence
from learning.datasets.windows import Window

EPISODE = EpisodeSettings(sessions=60, warm_up=0)
SETTINGS = CurriculumSettings(levels=4, stretch_sessions=20, window=2, patience=2, longest=10)
WINDOWS = (Window(0, 0, 80),)


def curriculum(
    settings: CurriculumSettings = SETTINGS, crises: tuple[Window, ...] = ()
) -> Curriculum:
    """Four stretches: the third is the calmest, then the first, the fourth, the second."""
    rng = np.random.default_rng(0)
    scale = np.repeat([0.02, 0.04, 0.01, 0.03], 20)
    returns = np.concatenate([rng.normal(0, 1, (1, 80, 2)) * scale[None, :, None]] * 2)
    return Curriculum(SimpleNamespace(returns=returns), WINDOWS, settings, EPISODE, crises)


def starts(given: Curriculum) -> set[int]:
    return set(given.draw(200, np.random.default_rng(1))[1].tolist())


def test_first_level_draws_from_the_calmest_stretch_alone() -> None:
    given = curriculum()
    assert starts(given) == {40}
    assert given.sessions == 20


def test_each_level_adds_the_next_calmest_and_the_last_is_all_of_the_training() -> None:
    given, seen = curriculum(), []
    while not given.last:
        seen.append(starts(given))
        while not given.report(1.0):
            pass
    assert seen == [{40}, {40, 0}, {40, 0, 60}]
    assert starts(given) == set(range(21))
    assert given.sessions == 60


def test_level_rises_on_results_and_not_before() -> None:
    given = curriculum()
    assert [given.report(-1.0) for _ in range(4)] == [False] * 4
    assert [given.report(2.0) for _ in range(3)] == [False, True, False]
    assert given.level == 1


def test_level_that_is_never_passed_ends_all_the_same() -> None:
    given = curriculum()
    assert [given.report(-1.0) for _ in range(10)] == [False] * 9 + [True]


def test_one_bad_update_starts_the_count_again() -> None:
    given = curriculum()
    for reward in (1.0, 1.0, -5.0, 1.0):
        assert not given.report(reward)


def test_without_a_curriculum_everything_is_drawn_from_the_start() -> None:
    given = curriculum(CurriculumSettings(enabled=False, stretch_sessions=20))
    assert given.last
    assert starts(given) == set(range(21))
    assert not given.report(1.0)


def test_crises_come_at_the_last_level_with_their_share() -> None:
    off = CurriculumSettings(enabled=False, stretch_sessions=20, crisis_share=0.3)
    market, _ = curriculum(off, (Window(1, 0, 80),)).draw(4000, np.random.default_rng(2))
    assert float((market == 1).mean()) == pytest.approx(0.3, abs=0.03)
    calm, _ = curriculum(SETTINGS, (Window(1, 0, 80),)).draw(100, np.random.default_rng(2))
    assert not calm.any()


def test_curriculum_goes_on_from_its_state() -> None:
    one, two = curriculum(), curriculum()
    for reward in (1.0, 1.0, 1.0, 1.0, 1.0):
        one.report(reward)
    two.restore(one.state())
    assert (two.level, two.windows, two.sessions) == (one.level, one.windows, one.sessions)
    rewards = np.random.default_rng(3).normal(0.2, 1.0, 30)
    assert [one.report(r) for r in rewards] == [two.report(r) for r in rewards]


def test_turbulence_weighs_a_quiet_instrument_as_much_as_a_wild_one() -> None:
    rng = np.random.default_rng(4)
    returns = rng.normal(0, 1, (1, 200, 2)) * np.array([0.001, 0.1])
    wilder = returns.copy()
    wilder[:, :100, 0] *= 3.0
    parts = stretches((Window(0, 0, 200),), 100)
    quiet = turbulence(wilder, parts)
    wilder = returns.copy()
    wilder[:, :100, 1] *= 3.0
    assert turbulence(wilder, parts) == pytest.approx(quiet, rel=0.1)
    assert quiet[0] > 1.4 * quiet[1]


def test_missing_returns_count_as_calm() -> None:
    returns = np.full((1, 40, 1), np.nan)
    returns[:, 20:] = 0.01
    assert turbulence(returns, stretches((Window(0, 0, 40),), 20))[0] == 0.0
