"""
Macro PPO (SPEC F3, phase 3): the pre-trained top policy goes on learning, now from what it earns.

The actor starts as phase 1 left it and acts on the portfolio form; the micro policy of phase 2
places its budgets and does not change. The start is itself a candidate: what is exported is the
best by validation Sharpe, which may be it. A linear head on the encoder's codes tells the regime;
PPO moves the encoder under it, so it is fitted anew at the end, which changes no budget.
It knows no target but the regime, and no learner but `ppo`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import torch
from torch.nn.functional import cross_entropy

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.policy_file import ANY_GROUP, GRAPH_FILE, save_policy
from config.allocator import EpisodeSettings, PpoSettings, RewardSettings, TargetSettings
from config.settings import Settings
from learning.allocator.evaluation.policy_paths import run_policy, tiered_act
from learning.allocator.training.equity.macro import Examples
from learning.allocator.training.joint.joint_net import Former
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
from learning.envs.environments import Arena, PortfolioEnvironment

PHASE = "macro-ppo"
WARM_STD = 0.1  # a budget of 8% is an action of -0.84: PPO's usual noise would drown it
HEAD_STEPS = 300
HEAD_LEARNING_RATE = 1e-2


def train_macro_ppo(
    book: Dataset,
    split: Split,
    macro: Path,
    micro: Path,
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
    Train the top policy in folder `macro` over the bottom policy in folder `micro`.

    The sector graph, where the macro policy has one, is in its folder and does not change.
    `folder` comes to hold the policy ("top"), checkpoints, the curve, TensorBoard scalars and
    the summary. Raises ConfigError where the policies do not fit each other, and what PPO raises.
    """
    if resume and (done := finished(folder, timesteps)) is not None:
        return done
    former = Former(book, macro, {ANY_GROUP: micro})
    net, card = former.top_net.requires_grad_(True), former.top_card
    graph = macro / GRAPH_FILE if card.embeddings else None
    gross = settings.limits.max_gross * settings.limits.headroom
    examples = Examples(book, split, TargetSettings(), card.normaliser, graph, gross)
    bottom_policies = former.placing(book)
    arena = Arena(book, split.train, split.train, card.normaliser, settings, reward, episode)
    ppo = msgspec.structs.replace(ppo, exploration_std=min(ppo.exploration_std, WARM_STD))
    environment = PortfolioEnvironment(
        arena, ppo.envs, seed, bottom_policies=bottom_policies, embeddings=examples.embeddings
    )

    def validate(actor: BottomNet | TopNet) -> float:
        top = cast(TopNet, actor)
        act = tiered_act(
            book, card.normaliser, top, bottom_policies, environment.gross, examples.embeddings
        )
        return run_policy(book, split.validation, settings, act).sharpe

    start_sharpe = validate(net)
    learned = train_ppo(
        environment,
        net,
        ppo,
        validate,
        folder,
        timesteps=timesteps,
        seed=seed,
        meta=identity(PHASE, book, split, seed)
        | {
            "settings": msgspec.to_builtins([ppo, reward, episode, settings]),
            "policies": former.digests,
        },
        resume=resume,
        progress=progress,
    )
    fit_regimes(net, examples, split, seed)
    record = training_record(book, split, card.trained.steps + learned.steps, seed)
    card = msgspec.structs.replace(
        card, name="ppo-macro", gross=environment.gross, trained=record, files={}
    )
    save_policy(folder / card.slot, net, card, graph)
    test = examples.rows(split.test)
    with torch.no_grad():
        after = examples.measures(examples.answers(net, test), test)
    result = PhaseResult(
        phase=PHASE,
        folder=str(folder),
        steps=learned.steps,
        seconds=learned.seconds,
        measures={
            "validation_sharpe": learned.best_sharpe,
            "validation_sharpe_start": start_sharpe,
            "best_step": float(learned.best_step),
            **{f"test_{name}": after[name] for name in after if name.endswith("_accuracy")},
        },
        policies={card.slot: card.slot},
        notes=()
        if learned.best_step
        else ("no update validated better than the pre-trained policy",),
    )
    write_result(result)
    return result


def fit_regimes(net: TopNet, examples: Examples, split: Split, seed: int) -> None:
    """Fit the regime's head to the training windows, the encoder as it is."""
    torch.manual_seed(seed)
    rows = examples.rows(split.train)
    with torch.no_grad():
        codes = examples.codes(net, rows)
    true = torch.from_numpy(examples.regime[rows[:, 0], rows[:, 1]])
    optimiser = torch.optim.Adam(net.regime_head.parameters(), HEAD_LEARNING_RATE)
    for _ in range(HEAD_STEPS):
        optimiser.zero_grad()
        loss = cross_entropy(net.regimes(codes), true)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
