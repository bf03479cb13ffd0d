"""
Phase 2 of the multi-asset book: a meta-controller that shares capital among frozen specialists.

The top policy starts with the same budget for every group and learns, by PPO in the portfolio
environment, when to give more, less or nothing; the specialists of phase 1 place the budgets and
do not change. It knows no specialist's training.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import torch

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import INSTRUMENT_INPUTS, MARKET_INPUTS
from agents.allocator.policy_file import PolicyCard, load_policy, save_policy
from agents.arrays import FloatArray
from config.errors import ConfigError
from learning.allocator.evaluation.policy_paths import run_policy, tiered_act
from learning.allocator.training.multi_asset.specialists import POLICY
from learning.allocator.training.phase_results import (
    PhaseResult,
    finished,
    identity,
    training_record,
    write_result,
)
from learning.allocator.training.ppo import train_ppo
from learning.allocator.training.training_run import TrainingRun
from learning.envs.bottom_policies import BottomPolicies
from learning.envs.environments import PortfolioEnvironment
from learning.twin.twin import Twin


def train_meta(run: TrainingRun, specialists: Mapping[str, Path]) -> PhaseResult:
    """
    Train a top policy over the specialists in `specialists`, policy folders by group.

    Raises ConfigError where a specialist is missing or saw other numbers, and what PPO raises.
    """
    s, dataset, trading = run.settings, run.dataset, run.settings.trading
    if (found := finished(run, s.meta_timesteps)) is not None:
        return found
    loaded = {group: _bottom(folder) for group, folder in sorted(specialists.items())}
    cards = {group: card for group, (_, card) in loaded.items()}
    missing = [group for group in dataset.groups if group not in cards]
    if missing:
        raise ConfigError(f"expected a specialist for {missing[0]}, was none")
    norm = cards[dataset.groups[0]].normaliser
    other = [group for group, card in cards.items() if card.normaliser != norm]
    if other:
        raise ConfigError(f"expected specialists of one training, was another's for {other[0]}")
    bottom_policies = BottomPolicies(dataset, {group: net for group, (net, _) in loaded.items()})
    environment = PortfolioEnvironment(
        run.arena(norm), s.ppo.envs, run.seed, bottom_policies=bottom_policies
    )
    torch.manual_seed(run.seed)
    net = TopNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS))

    def validate(actor: BottomNet | TopNet) -> float:
        act = tiered_act(dataset, norm, cast(TopNet, actor), bottom_policies, environment.gross)
        return run_policy(dataset, run.split.validation, trading, act).sharpe

    learned = train_ppo(
        run,
        environment,
        net,
        validate,
        timesteps=s.meta_timesteps,
        meta=identity("meta", run)
        | {
            "settings": msgspec.to_builtins([s.ppo, s.reward, s.episode, trading]),
            "specialists": {group: card.digest for group, card in cards.items()},
        },
    )
    card = PolicyCard(
        kind="top",
        book=dataset.name,
        name="ppo-meta",
        groups=dataset.groups,
        hidden=net.encoder.hidden,
        normaliser=norm,
        gross=environment.gross,
        trained=training_record(run, learned.steps),
    )
    save_policy(run.folder / POLICY, learned.actor, card)
    even = np.full(len(dataset.groups), environment.gross / len(dataset.groups))
    share: Callable[[Twin], FloatArray] = lambda twin: np.tile(even, (twin.batch, 1))  # noqa: E731
    equal = tiered_act(dataset, norm, share, bottom_policies, environment.gross)
    equal_sharpe = run_policy(dataset, run.split.validation, trading, equal).sharpe
    return write_result(
        PhaseResult(
            phase="meta",
            folder=str(run.folder),
            steps=learned.steps,
            seconds=learned.seconds,
            measures={
                "validation_sharpe": learned.best_sharpe,
                "validation_sharpe_equal": equal_sharpe,
                "best_step": float(learned.best_step),
            },
            policies={"top": POLICY},
        )
    )


def _bottom(folder: Path) -> tuple[BottomNet, PolicyCard]:
    net, card = load_policy(folder)
    if not isinstance(net, BottomNet):
        raise ConfigError(f"expected a bottom policy in {folder}, was a {card.kind} policy")
    return net, card
