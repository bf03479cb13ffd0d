"""
Fits a supervisor to collected routes and validates it on later cases.

The last fifth of the sessions is kept back; cases whose outcome closed inside it are left out of
the training (López de Prado's purge). What is validated is what is saved: nothing is fitted again
to the fifth, so that it stays evidence for a backtest, and `learned_until` ends before it.

The reward of every route that a validation case allows is known, so each router is paid exactly
what its choice came to. The best route in hindsight is the best of up to seven noisy rewards:
much of it is luck that no router could have, so its accuracy is low and its regret large for
everyone; the differences between routers are what counts. Nothing here learns online. It knows
no desk and no files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.arrays import BoolArray, FloatArray
from agents.messages import ROUTES
from agents.supervisor.lin_ucb import LinUCB
from agents.supervisor.neural_ucb import NeuralUCB
from agents.supervisor.offline import train_offline
from agents.supervisor.routing import ARMS, ASKED
from backtest.statistics.intervals import mean_interval
from backtest.statistics.measures import Undefined
from config.errors import DataError
from config.settings import SupervisorSettings
from learning.supervisor.table import RouteTable

VALIDATION = 5  # the last fifth
FEWEST_SESSIONS = 20  # that an interval is drawn from


@dataclass(frozen=True)
class Trained:
    """
    A learner with the stamp of the newest outcome it saw, and its validation.

    `hits` (M, 3) are the juniors' calls in the training cases, for the track records; `paid` is
    what each router got per case of the validation, by session, (S,) over `sessions`.
    """

    learner: NeuralUCB
    learned_until: int
    hits: FloatArray
    report: dict[str, Any]
    sessions: NDArray[np.int64]
    paid: dict[str, FloatArray]


def train_supervisor(
    table: RouteTable,
    settings: SupervisorSettings,
    seed: int,
    *,
    epochs: int,
    batch: int,
    lr: float,
    progress: Callable[[int, float], None] | None = None,
) -> Trained:
    """
    Return a learner fitted to the first four fifths of the sessions, validated on the last.

    Raises DataError where either part would be empty.
    """
    first, second = _split(table)
    trajectories = first.trajectories()
    learner = train_offline(trajectories, settings, seed, epochs, batch, lr, progress)
    line = LinUCB()
    for context, action, reward in zip(
        trajectories.contexts, trajectories.actions.tolist(), trajectories.rewards, strict=True
    ):
        line.update(context, action, float(reward))

    names = ["case"] * len(second)
    mean_rewards = [
        float(_paid(first, fixed_route(arm, first.evidence)).mean()) for arm in range(ARMS)
    ]
    fixed = int(np.argmax(mean_rewards))
    chosen: dict[str, NDArray[np.int64]] = {
        name: np.array([r.arm for r in router.select(second.contexts, names, second.evidence)])
        for name, router in (("NeuralUCB", learner), ("LinUCB", line))
    }
    title = f"always {'+'.join(ROUTES[fixed])}, best in training"
    chosen[title] = fixed_route(fixed, second.evidence)
    chosen["always-all"] = fixed_route(ARMS - 1, second.evidence)
    got = {name: _paid(second, arms) for name, arms in chosen.items()}
    best = np.nanmax(second.rewards, axis=1)
    right = {name: float((paid == best).mean()) for name, paid in got.items()}
    got["random"] = np.nanmean(second.rewards, axis=1)  # its expectation
    ties = (second.rewards == best[:, None]).sum(axis=1)
    right["random"] = float((ties / np.isfinite(second.rewards).sum(axis=1)).mean())
    sessions, at = np.unique(second.ts, return_inverse=True)
    by_session = {name: np.bincount(at, paid) / np.bincount(at) for name, paid in got.items()}
    everyone, luck = by_session["always-all"], float((best - got["random"]).mean())
    routers = {
        name: {
            "mean_reward": float(paid.mean()),
            "accuracy_in_hindsight": right[name],
            "regret_in_hindsight": float((best - paid).mean()),
            "regret_share": float((best - paid).mean()) / luck if luck else None,
            "against_always_all": float((by_session[name] - everyone).mean()),
            "against_always_all_interval": _interval(by_session[name] - everyone, seed),
        }
        for name, paid in got.items()
    }
    report = {
        "trained_on": {"cases": len(first), "trajectories": len(trajectories.rewards)},
        "validated_on": {"cases": len(second), "sessions": len(sessions)},
        "trust_in_net": learner.trust.net,
        "mean_reward_of_each_route": {
            "+".join(names_): _mean_known(second.rewards[:, arm])
            for arm, names_ in enumerate(ROUTES)
        },
        "routers": routers,
    }
    until = int(first.ts_closed.max())
    return Trained(learner, until, first.hits, report, sessions, by_session)


def fixed_route(arm: int, evidence: BoolArray) -> NDArray[np.int64]:
    """
    Return what a rule that always asks the same juniors comes to: those with evidence are asked.

    Where none of its juniors has evidence, it asks all who have. Shapes: evidence (N, 3), some
    junior in each row -> (N,).
    """
    asked = evidence & ASKED[arm]
    asked = np.where(asked.any(axis=1, keepdims=True), asked, evidence)
    return np.argmax((asked[:, None, :] == ASKED).all(axis=2), axis=1)


def _paid(table: RouteTable, arms: NDArray[np.int64]) -> FloatArray:
    """Return what a route of each case came to; shapes: arms (M,) -> (M,)."""
    return np.asarray(table.rewards[np.arange(len(table)), arms])


def _mean_known(rewards: FloatArray) -> float | None:
    known = rewards[np.isfinite(rewards)]
    return float(known.mean()) if len(known) else None


def _split(table: RouteTable) -> tuple[RouteTable, RouteTable]:
    sessions = np.unique(table.ts)
    begin = sessions[len(sessions) - len(sessions) // VALIDATION :]
    if len(begin) == 0 or not (table.ts_closed < begin[0]).any():
        raise DataError(
            f"expected collected routes of more sessions, so that a fifth of them can validate "
            f"the rest, was {len(sessions)}"
        )
    return table.take(table.ts_closed < begin[0]), table.take(table.ts >= begin[0])


def _interval(difference: FloatArray, seed: int) -> tuple[float, float] | None:
    """Return the 95% block-bootstrap interval of a mean over sessions; None for too few."""
    if len(difference) < FEWEST_SESSIONS or not difference.any():
        return None
    found = mean_interval(difference, seed=seed)
    return None if isinstance(found, Undefined) else (found.low, found.high)
