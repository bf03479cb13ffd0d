"""
Phase 2 of the multi-asset book: a meta-controller that shares capital among frozen specialists.

The top policy starts where it gives every group the same and learns, by PPO on the portfolio
form, when to give more, less or nothing; what it gives is placed by the specialists of phase 1,
which do not change. It knows no specialist's training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import torch

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.observation import INSTRUMENT_INPUTS, MARKET_INPUTS
from agents.allocator.policy_file import PolicyCard, load_policy, save_policy
from config.allocator import EpisodeSettings, PpoSettings, RewardSettings
from config.errors import ConfigError
from config.settings import Settings
from learning.allocator.evaluation.policy_paths import run_policy, tiered_act
from learning.allocator.training.multi_asset.specialists import POLICY
from learning.allocator.training.phase_results import (
    PhaseResult,
    finished,
    identity,
    training_record,
    write_result,
)
from learning.allocator.training.ppo import Row, train_ppo
from learning.datasets.dataset import Dataset
from learning.datasets.windows import Split
from learning.envs.bottom_policies import BottomPolicies
from learning.envs.environments import Arena, PortfolioEnvironment


def train_meta(
    book: Dataset,
    parts: Split,
    specialists: Mapping[str, Path],
    ppo: PpoSettings,
    reward: RewardSettings,
    episode: EpisodeSettings,
    settings: Settings,
    folder: Path,
    *,
    timesteps: int,
    seed: int,
    resume: bool = False,
    progress: Callable[[Row], None] | None = None,
) -> PhaseResult:
    """
    Train a top policy over the specialists in `specialists`, policy folders by group.

    Raises ConfigError where a specialist is missing or saw other numbers, and what PPO raises.
    """
    found = finished(folder, timesteps) if resume else None
    if found is not None:
        return found
    loaded = {group: _bottom(folder) for group, folder in sorted(specialists.items())}
    cards = {group: card for group, (_, card) in loaded.items()}
    missing = [group for group in book.groups if group not in cards]
    if missing:
        raise ConfigError(f"expected a specialist for {missing[0]}, was none")
    norm = cards[book.groups[0]].normaliser
    other = [group for group, card in cards.items() if card.normaliser != norm]
    if other:
        raise ConfigError(f"expected specialists of one training, was another's for {other[0]}")
    bottom_policies = BottomPolicies(book, {group: net for group, (net, _) in loaded.items()})
    arena = Arena(book, parts.train, parts.train, norm, settings, reward, episode)
    environment = PortfolioEnvironment(arena, ppo.envs, seed, bottom_policies=bottom_policies)
    torch.manual_seed(seed)
    net = TopNet(len(INSTRUMENT_INPUTS), len(MARKET_INPUTS))

    def validate(actor: BottomNet | TopNet) -> float:
        act = tiered_act(book, norm, cast(TopNet, actor), bottom_policies, environment.gross)
        return run_policy(book, parts.validation, settings, act).sharpe

    learned = train_ppo(
        environment,
        net,
        ppo,
        validate,
        folder,
        timesteps=timesteps,
        seed=seed,
        meta=identity("meta", book, parts, seed)
        | {
            "settings": msgspec.to_builtins([ppo, reward, episode, settings]),
            "specialists": {group: card.digest for group, card in cards.items()},
        },
        resume=resume,
        progress=progress,
    )
    card = PolicyCard(
        kind="top",
        book=book.name,
        name="ppo-meta",
        groups=book.groups,
        hidden=net.encoder.hidden,
        normaliser=norm,
        gross=environment.gross,
        trained=training_record(book, parts, learned.steps, seed),
    )
    save_policy(folder / POLICY, learned.actor, card)
    even = np.full(len(book.groups), environment.gross / len(book.groups))
    equal = tiered_act(
        book, norm, lambda twin: np.tile(even, (twin.batch, 1)), bottom_policies, environment.gross
    )
    result = PhaseResult(
        phase="meta",
        folder=str(folder),
        steps=learned.steps,
        seconds=learned.seconds,
        measures={
            "validation_sharpe": learned.best_sharpe,
            "validation_sharpe_equal": run_policy(book, parts.validation, settings, equal).sharpe,
            "best_step": float(learned.best_step),
        },
        policies={"top": POLICY},
    )
    write_result(result)
    return result


def _bottom(folder: Path) -> tuple[BottomNet, PolicyCard]:
    net, card = load_policy(folder)
    if not isinstance(net, BottomNet):
        raise ConfigError(f"expected a bottom policy in {folder}, was a {card.kind} policy")
    return net, card
