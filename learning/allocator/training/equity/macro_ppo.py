"""
Phase 3 of the equity book: the pre-trained top policy goes on learning from what it earns, by PPO.

The actor starts as phase 1 left it and acts in the portfolio environment; the micro policy of
phase 2 places its budgets and does not change. The start is itself a candidate: the best policy
by validation Sharpe is exported, which may be the start. A linear head on the encoder's codes
tells the regime; PPO moves the encoder under it, so the head is fitted anew at the end, which
changes no budget. It knows no target but the regime, and no learner but `ppo`.
"""

from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec
import torch
from torch.nn.functional import cross_entropy

from agents.allocator.networks import BottomNet, TopNet
from agents.allocator.policy_file import ANY_GROUP, GRAPH_FILE, save_policy
from learning.allocator.evaluation.policy_paths import run_policy, tiered_act
from learning.allocator.training.equity.macro import Examples
from learning.allocator.training.joint.joint_net import EarlierPolicies
from learning.allocator.training.phase_results import (
    PhaseResult,
    finished,
    identity,
    training_record,
    write_result,
)
from learning.allocator.training.ppo import train_ppo
from learning.allocator.training.training_run import TrainingRun
from learning.envs.environments import PortfolioEnvironment

PHASE = "macro-ppo"
WARM_STD = 0.1  # a budget of 8% is an action of -0.84: PPO's usual noise would drown it
HEAD_STEPS = 300
HEAD_LEARNING_RATE = 1e-2


def train_macro_ppo(run: TrainingRun, macro: Path, micro: Path) -> PhaseResult:
    """
    Train the top policy in folder `macro` over the bottom policy in folder `micro`.

    The sector graph, where the macro policy has one, is in its folder and does not change. The
    run's folder comes to hold the policy ("top"), checkpoints, the curve, TensorBoard scalars and
    the summary. Raises ConfigError where the policies do not fit each other, and what PPO raises.
    """
    s, dataset, trading = run.settings, run.dataset, run.settings.trading
    if (done := finished(run, s.macro_timesteps)) is not None:
        return done
    earlier = EarlierPolicies(dataset, macro, {ANY_GROUP: micro})
    net, card = earlier.top_net.requires_grad_(True), earlier.top_card
    graph = macro / GRAPH_FILE if card.embeddings else None
    examples = Examples(run, card.normaliser, graph)
    bottom_policies = earlier.placing(dataset)
    ppo = msgspec.structs.replace(s.ppo, exploration_std=min(s.ppo.exploration_std, WARM_STD))
    environment = PortfolioEnvironment(
        run.arena(card.normaliser),
        ppo.envs,
        run.seed,
        bottom_policies=bottom_policies,
        embeddings=examples.embeddings,
    )

    def validate(actor: BottomNet | TopNet) -> float:
        top = cast(TopNet, actor)
        act = tiered_act(
            dataset, card.normaliser, top, bottom_policies, environment.gross, examples.embeddings
        )
        return run_policy(dataset, run.split.validation, trading, act).sharpe

    start_sharpe = validate(net)
    learned = train_ppo(
        replace(run, settings=msgspec.structs.replace(s, ppo=ppo)),
        environment,
        net,
        validate,
        timesteps=s.macro_timesteps,
        meta=identity(PHASE, run)
        | {
            "settings": msgspec.to_builtins([ppo, s.reward, s.episode, trading]),
            "policies": earlier.digests,
        },
    )
    fit_regimes(net, examples, run)
    record = training_record(run, card.trained.steps + learned.steps)
    card = msgspec.structs.replace(
        card, name="ppo-macro", gross=environment.gross, trained=record, files={}
    )
    save_policy(run.folder / card.slot, net, card, graph)
    test = examples.rows(run.split.test)
    with torch.no_grad():
        after = examples.measures(examples.answers(net, test), test)
    return write_result(
        PhaseResult(
            phase=PHASE,
            folder=str(run.folder),
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
    )


def fit_regimes(net: TopNet, examples: Examples, run: TrainingRun) -> None:
    """Fit the regime's head to the training windows, the encoder as it is."""
    torch.manual_seed(run.seed)
    rows = examples.rows(run.split.train)
    with torch.no_grad():
        codes = examples.codes(net, rows)
    true = torch.from_numpy(examples.regime[rows[:, 0], rows[:, 1]])
    optimiser = torch.optim.Adam(net.regime_head.parameters(), HEAD_LEARNING_RATE)
    for _ in range(HEAD_STEPS):
        optimiser.zero_grad()
        loss = cross_entropy(net.regimes(codes), true)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
