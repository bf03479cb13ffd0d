"""
What a human sets about the allocator's training: one struct a concern.

Profiles are `config/allocator/*.yaml`, which `config.settings.load_struct` reads. Steps are
sessions, as the desk lives them; fractions are of equity.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from config.settings import (
    Count,
    DeskSettings,
    Frac,
    LimitSettings,
    MarketSettings,
    NonNegative,
    Positive,
    Settings,
    _Settings,
)

TRAININGS = Path(__file__).parent / "allocator"


class EpisodeSettings(_Settings, frozen=True, kw_only=True):
    """
    How long an episode is; a step is a session.

    `sessions` is the length, or that of the shortest window where windows are shorter, but never
    below `min_sessions`: set both alike to refuse anything shorter.
    """

    sessions: Count = 1_000
    min_sessions: Count = 100
    warm_up: Annotated[int, Meta(ge=0)] = 50  # sessions of a market before its first decision
    cohort: Count = 8  # books that live the same sessions, each paid beyond its peers' mean

    @property
    def shortest(self) -> int:
        """The fewest sessions that an episode may have."""
        return min(self.sessions, self.min_sessions)


class SplitSettings(_Settings, frozen=True, kw_only=True):
    """
    What trains, validates and tests: by days in a real market, by market among simulated ones.

    Days (YYYY-MM-DD) are inclusive; "" means from the first or to the last session. Before each
    later part `purge_sessions + embargo_sessions` are in no part. The shares are of the markets.
    """

    train_from: str = ""
    train_until: str = ""
    validation_until: str = ""
    test_until: str = ""
    purge_sessions: Annotated[int, Meta(ge=0)] = 20  # the longest horizon
    embargo_sessions: Annotated[int, Meta(ge=0)] = 5
    validation_share: Frac = 0.125
    test_share: Frac = 0.25


SPLITS = {
    "multi-asset": SplitSettings(
        train_until="2018-06-30",
        validation_until="2019-06-30",
        test_until="2020-10-15",
        test_share=0.125,
    ),
    "equity": SplitSettings(
        train_from="2015-01-01",
        train_until="2020-12-31",
        validation_until="2021-12-31",
        test_until="2022-12-31",
    ),
}
"""The days and shares of each book where nothing else is set."""


class DatasetSettings(_Settings, frozen=True, kw_only=True):
    """
    Which markets a book learns from.

    `source` is "simulator" or what `quarterdeck data check` takes. `seeds`, `first_seed` and
    `sessions` (after the simulator's own warm-up) are of simulated markets alone.
    """

    name: Literal["multi-asset", "equity"] = "multi-asset"
    source: str = "simulator"
    start: str | None = None
    end: str | None = None
    seeds: Count = 32
    first_seed: Annotated[int, Meta(ge=0)] = 0
    sessions: Count = 1_000
    symbols: tuple[str, ...] = ()  # of a real source; (): the book chooses
    own_costs: bool = False  # each instrument's own cost in place of the default; not simulated
    split: SplitSettings | None = None  # None: that of `SPLITS`


class MicroSettings(_Settings, frozen=True, kw_only=True):
    """Supervised pre-training of the micro policy on the stock targets (equity, phase 2)."""

    epochs: Count = 30
    patience: Count = 8  # epochs without a better validation loss before it stops
    batch_sessions: Count = 32  # each with all its stocks
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 1e-4
    learning_rate_floor: Frac = 0.1  # of the first, reached by a cosine over `epochs`


class HerSettings(_Settings, frozen=True, kw_only=True):
    """
    TD3 with hindsight experience replay for the micro policy (equity, phase 4).

    Policy delay and target noise are TD3's (Fujimoto et al. 2018). A goal holds for an episode,
    so episodes are much shorter than PPO's: a replay buffer draws from finished ones only.
    """

    timesteps: Count = 100_000
    envs: Count = 8
    episode_sessions: Count = 50
    gross_floor: Frac = 0.3  # of the gross limit: the least that a random goal invests
    top_goal_frac: Frac = 0.5  # of the episodes, where there is a macro policy to set goals
    return_scale: NonNegative = 1.0  # of the net return, beside the squared goal distance
    reward_scale: Positive = 10.0  # of both: distances squared are small for Adam's default step
    hindsight_goals: Annotated[int, Meta(ge=0, le=64)] = 4  # relabelled for each real transition
    buffer_size: Count = 100_000  # transitions
    learning_starts: Count = 2_000  # steps; more than one episode of every environment
    batch_size: Count = 128
    train_every: Count = 1  # steps of every environment between updates
    gradient_steps: Count = 1
    learning_rate: Positive = 1e-3
    gamma: Frac = 0.5  # a book is moved within a session or two: the far future says little
    tau: Frac = 0.01
    policy_delay: Count = 2
    exploration_noise: NonNegative = 0.2
    target_noise: NonNegative = 0.2
    target_noise_clip: NonNegative = 0.5
    critic_hidden: Count = 64
    checkpoint_every: Count = 10_000  # steps


class TargetSettings(_Settings, frozen=True, kw_only=True):
    """The allocations that pre-training learns (`learning.datasets.targets`)."""

    horizon_sessions: Count = 20
    tilt: NonNegative = 0.1  # log weight per unit of t-value over the horizon
    volatility_per_year: Positive = 0.08  # of the whole: some two thirds of what max_var leaves


class GraphSettings(_Settings, frozen=True, kw_only=True):
    """The sector graph and its training."""

    horizon_sessions: Count = 20  # whose covariance of sectors it forecasts
    every_sessions: Count = 5  # between two samples of a market
    epochs: Count = 40
    patience: Count = 8  # epochs without a better validation loss before it stops
    batch_graphs: Count = 32
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 1e-4


class MacroSettings(_Settings, frozen=True, kw_only=True):
    """Macro pre-training: the regime and the sectors' budgets (equity, phase 1)."""

    epochs: Count = 50
    patience: Count = 10  # epochs without a better validation loss before it stops
    batch_sessions: Count = 256
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 1e-2
    regime_weight: NonNegative = 0.05  # of the cross-entropy, beside the budgets' squared error
    input_noise: NonNegative = 0.5  # deviation of what training adds to every input
    clip_norm: Positive = 1.0


class PpoSettings(_Settings, frozen=True, kw_only=True):
    """PPO's numbers (Schulman et al. 2017), and how often the policy is validated."""

    learning_rate: Positive = 3e-4
    batch_size: Count = 256
    epochs: Count = 10
    gamma: Frac = 0.99
    gae_lambda: Frac = 0.95
    clip: Positive = 0.2
    entropy_weight: NonNegative = 0.0
    value_weight: NonNegative = 0.5
    max_grad_norm: Positive = 0.5
    envs: Count = 8
    n_steps: Count = 1_024  # of each environment between updates
    exploration_std: Positive = 0.1  # of an action, at the start: every move of noise is paid for
    checkpoint_every: Count = 10  # updates; the policy is validated then, too


class DirectSettings(_Settings, frozen=True, kw_only=True):
    """A specialist's warm-up by the gradient of what its book earns (Moody and Saffell 2001)."""

    epochs: Count = 20
    patience: Count = 8  # epochs without a better validation Sharpe before it stops
    updates: Count = 10  # an epoch
    books: Count = 256  # an update
    sessions: Annotated[int, Meta(ge=2)] = 40  # that each book lives
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 1e-2
    clip_norm: Positive = 0.5
    risk_aversion: NonNegative = 3.0  # a year's Sharpe ratio
    band_share: Frac = 0.4  # of the desk's no-trade band; docs/training.md has what was tried


class RewardSettings(_Settings, frozen=True, kw_only=True):
    """
    What a session's result is worth to a learner; see `learning.rewards.policy_reward`.

    The weights are of the return, of the risk and of the diversification.
    """

    return_weight: NonNegative = 1.0
    risk_weight: NonNegative = 1.0
    diversification_weight: NonNegative = 0.5
    sharpe_target: Positive = 2.0  # a year
    drawdown_target: Frac = 0.15
    risk_free: Frac = 0.02  # a year, where no rate is known
    downside_weight: NonNegative = 1.0


class CurriculumSettings(_Settings, frozen=True, kw_only=True):
    """
    From calm to crisis: which sessions episodes start in, and when they get harder.

    At level l of `levels` an episode is drawn from the calmest (l + 1) / levels of the training
    stretches; the last level has all of them, and generated crises with `crisis_share`. A level
    is passed after `patience` updates whose mean reward, smoothed over `window` updates, is at
    least `pass_mark`, or after `longest` updates in any case, so that none blocks the rest.
    """

    enabled: bool = True
    levels: Annotated[int, Meta(ge=1, le=10)] = 4
    stretch_sessions: Annotated[int, Meta(ge=5)] = 63  # a quarter: what is ranked by turbulence
    pass_mark: float = -0.05  # reward a step, with what exploration costs
    window: Count = 5  # updates
    patience: Count = 3  # updates
    longest: Count = 10  # updates: learning on for long from calm sessions alone unlearns others
    crises: Annotated[int, Meta(ge=0, le=64)] = 4  # markets that are generated
    crisis_share: Frac = 0.25  # of the episodes at the last level, where there are crises


class JointSettings(_Settings, frozen=True, kw_only=True):
    """
    Joint training of the shared encoder, its heads and the critic.

    Rollouts and minibatches are larger than `PpoSettings` has them, for the speed of a batched
    twin. `target_kl` is how far one update should move a part; rates follow it.
    """

    # how long
    timesteps: Count = 1_000_000
    envs: Count = 64
    rollout_steps: Count = 128
    checkpoint_every: Count = 5  # updates; a validation comes with each

    # PPO
    learning_rate: Positive = 1e-4  # a third of the usual: the policies have learned before
    epochs: Count = 5
    minibatch: Count = 4096
    gamma: Frac = 0.99
    gae_lambda: Frac = 0.95
    clip: Positive = 0.2
    clip_norm: Positive = 1.0
    entropy_coef: NonNegative = 0.0
    first_std: Positive = 0.2  # of an action in [-1, 1]; small, for phase 2 starts it well
    move_std: Positive = 0.25  # of a bottom's move: less than the no-trade band tries nothing
    noise_memory: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.95  # a session; 0 is PPO's own noise

    # several parts, one encoder
    critic_updates: Annotated[int, Meta(ge=0)] = 5  # the first: the critic learns alone
    specialists_every: Count = 5  # updates; the encoder moves with them, the meta head each time
    projection: bool = True  # PCGrad
    regime_coef: NonNegative = 0.1  # of the regime head's cross-entropy
    target_kl: Positive = 0.002
    rate_bounds: tuple[Positive, Positive] = (0.1, 3.0)  # of `learning_rate`

    curriculum: CurriculumSettings = CurriculumSettings()


class TrainingSettings(_Settings, frozen=True, kw_only=True):
    """
    A whole training of one book: what it learns from, its phases, and the desk that trades it.

    Steps are sessions of one environment; the pre-trainings count epochs instead.
    """

    renamed: ClassVar[Mapping[str, str]] = {"book": "dataset"}

    # what is learned from, and how
    dataset: DatasetSettings = DatasetSettings()
    episode: EpisodeSettings = EpisodeSettings()
    reward: RewardSettings = RewardSettings()
    ppo: PpoSettings = PpoSettings()
    joint: JointSettings = JointSettings()

    # the multi-asset book: each specialist's steps and the meta-controller's
    direct: DirectSettings | None = DirectSettings()  # null: PPO starts from random weights
    specialist_timesteps: Count = 500_000
    meta_timesteps: Count = 300_000
    processes: Count = 2  # specialists trained side by side

    # the equity book
    target: TargetSettings = TargetSettings()
    graph: GraphSettings | None = GraphSettings()  # null: a macro policy without embeddings
    macro: MacroSettings = MacroSettings()
    micro: MicroSettings = MicroSettings()
    macro_timesteps: Count = 200_000
    her: HerSettings = HerSettings()

    # the desk and its market, as `config.settings` has them
    market: MarketSettings = MarketSettings()
    limits: LimitSettings = LimitSettings()
    desk: DeskSettings = DeskSettings()
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0

    @property
    def trading(self) -> Settings:
        """The settings of a run under the same rules."""
        return Settings(market=self.market, limits=self.limits, desk=self.desk, seed=self.seed)
