"""
Builds a run's minds from its settings, and opens the language models that answer for them.

`agents` leaves open who is who: here each role's kind becomes a junior, a strategist, a supervisor
or an allocator. A language model's answer goes, from the engine outwards, through its circuit
breaker (a server only), the completions that were kept, the budgets and the meter. Budgets lie
outside what is kept, so that a replay is cut where its recording was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.allocator import build_allocator
from agents.hierarchy import Hierarchy
from agents.juniors.round import JuniorRound, ModelJunior
from agents.llm.chat import ROLES, ChatBackend, Role
from agents.messages import Instrument, JuniorName
from agents.protocols import Strategist
from agents.strategist.rule_strategist import RuleStrategist
from agents.supervisor.neural_ucb import NeuralUCB
from backtest.identity import DECIDING, Completions
from backtest.policies import SIMULATED
from config.files.paths import data_home, own_path
from config.secrets import read_secret
from config.settings import MarketSettings, MindKind, MindSettings, Settings
from ops.composition.named_juniors import load_juniors

if TYPE_CHECKING:
    from agents.llm.meter import MeteredBackend
    from agents.llm.store.completion_store import CompletionStore
    from agents.llm.store.replay_backend import ReplayBackend
    from backtest.market.market_data import MarketData


@dataclass(frozen=True)
class Models:
    """The language models of a run: who is asked, who counts, and where answers come from."""

    settings: Settings
    backend: MeteredBackend
    engines: tuple[ReplayBackend, ...]  # by the kind's name
    store: CompletionStore | None

    def fix(self, nonce: str) -> Completions | None:
        """
        Fix what the minds may be given of what is kept, before the first question.

        `nonce` makes a run that may ask anything new like no other; a replay asks nothing and
        takes none. None where no mind asks a model. Raises as `ReplayBackend.identity`.
        """
        minds = self.settings.minds
        asking = [role for role in DECIDING if minds.of(role) != "rules"]
        if not asking:
            return None
        mode, digest = minds.completions, ""
        identities = {self.backend.identity(role) for role in asking}
        if self.store is not None and mode in ("replay", "replay-or-live"):
            failures = mode == "replay"
            digest = self.store.fix(identities, self.settings.seed, failures=failures)
        return Completions(
            mode=mode, replayable_digest=digest, nonce="" if mode == "replay" else nonce
        )

    def used(self) -> dict[str, Any]:
        """Return the hash of all answers that were used, in order, and how many were asked for."""
        return {
            "digest": "+".join(engine.digest for engine in self.engines),
            "asked_anew": sum(engine.misses for engine in self.engines),
        }


@contextmanager
def open_models(settings: Settings, completions: Path | None = None) -> Iterator[Models | None]:
    """
    Open the language models that the settings' roles name; None where all are rule-backed.

    `completions` is the file that keeps answers, by default one for all runs. The explainer is
    opened with the rest, and loads nothing until it is asked.
    """
    minds = settings.minds
    kinds: dict[Role, MindKind] = {role: minds.of(role) for role in ROLES}
    wanted = {kind for role, kind in kinds.items() if kind != "rules"}
    if not wanted:
        yield None
        return
    from agents.llm.budget import BudgetedBackend
    from agents.llm.by_role import ByRole
    from agents.llm.meter import MeteredBackend
    from agents.llm.store.completion_store import CompletionStore
    from agents.llm.store.replay_backend import ReplayBackend

    store = None
    if minds.completions != "live":
        store = CompletionStore(completions or data_home() / "completions.sqlite")
    engines = {
        kind: ReplayBackend(
            _engine(settings, kind), store, minds.completions, kind, _configured(minds, kind)
        )
        for kind in sorted(wanted)
    }
    chosen: dict[Role, ChatBackend] = {
        role: engines[kind] for role, kind in kinds.items() if kind != "rules"
    }
    one = next(iter(engines.values())) if len(engines) == 1 else ByRole(chosen)
    metered = MeteredBackend(BudgetedBackend(one, minds.budgets))
    try:
        yield Models(settings, metered, tuple(engines.values()), store)
    finally:
        metered.close()
        if store is not None:
            store.close()


def _engine(settings: Settings, kind: MindKind) -> ChatBackend:
    if kind == "embedded":
        from agents.llm.embedded.embedded_backend import EmbeddedBackend

        embedded: ChatBackend = EmbeddedBackend(settings.minds.embedded, data_home())
        return embedded
    from agents.llm.server.circuit import CircuitBreaker
    from agents.llm.server.openai_compatible import OpenAICompatibleBackend

    key = read_secret("VLLM_API_KEY")
    server = OpenAICompatibleBackend(
        settings.minds.vllm,
        api_key=key.reveal() if key else "none",
        seconds_per_round=settings.minds.budgets.seconds_per_round,
        seed=settings.seed,
    )
    return CircuitBreaker(server, settings.minds.vllm)


def _configured(minds: MindSettings, kind: MindKind) -> str:
    """Return what an engine is set to serve, as one line."""
    if kind == "embedded":
        return repr((minds.embedded.path, sorted(minds.embedded.adapters.items())))
    return repr((minds.vllm.model, sorted(minds.vllm.adapters.items())))


def build_mind(
    settings: Settings,
    state: Path | None = None,
    *,
    backend: ChatBackend | None = None,
    instruments: Sequence[Instrument] = (),
    source: str = "",
) -> Hierarchy:
    """
    Return the hierarchy, on the fresh prior or on a snapshot's state.

    Raises ConfigError where the settings name policies, or a snapshot, that cannot be used.
    `backend` answers for the roles that are not rule-backed. Of `instruments` masking hides the
    symbols, and views must earn the round trips; one that is not named is taken to be dear. On a
    `source` that is simulated, rule-backed juniors are expected to be as good as their cards say.
    """
    named = load_juniors(settings.minds.juniors)
    speakers: dict[JuniorName, ModelJunior] = {}
    strategist: Strategist = RuleStrategist()
    language_models: dict[str, bool] = {}
    if backend is not None:
        language_models = {
            role: bool(backend.identity(role).adapter)
            for role in DECIDING
            if settings.minds.of(role) != "rules"
        }
        speakers, strategist = _speaking(
            settings, backend, [i.symbol for i in instruments], strategist
        )
    cards = {
        name: junior.simulated_ic
        for name, junior in named.juniors.items()
        if source.startswith(SIMULATED)
        and name not in speakers
        and junior.simulated_ic is not None
    }
    folder = settings.allocator.policies
    mind = Hierarchy(
        supervisor=NeuralUCB(settings.supervisor, settings.seed),
        juniors=JuniorRound(named.juniors, speakers, backend, described=named.described),
        strategist=strategist,
        allocator=build_allocator(
            settings.allocator,
            own_path(folder) if folder else None,
            round_trip=round_trips(instruments, settings.market),
            prior_ic=cards,
        ),
        name=mind_name(settings),
        language_models=language_models,
    )
    if state is not None:
        mind.load(state)
    return mind


def build_market_mind(
    market: MarketData, settings: Settings, models: Models | None, state: Path | None = None
) -> Hierarchy:
    """Return the hierarchy as `build_mind` does, for a market and over open models."""
    return build_mind(
        settings,
        state,
        backend=None if models is None else models.backend,
        instruments=market.instruments,
        source=market.name,
    )


def round_trips(instruments: Sequence[Instrument], settings: MarketSettings) -> dict[str, float]:
    """Return what getting in and out costs by symbol: two fills and the spread, fractions."""
    return {
        i.symbol: 2.0 * (settings.cost_frac if i.cost_bps is None else i.cost_bps / 1e4)
        + settings.spread_bps / 1e4
        for i in instruments
    }


def _speaking(
    settings: Settings, backend: ChatBackend, symbols: Sequence[str], fallback: Strategist
) -> tuple[dict[JuniorName, ModelJunior], Strategist]:
    """Return the juniors and the strategist that speak through a language model."""
    from agents.juniors.model_juniors import (
        ModelFundamentalJunior,
        ModelNewsJunior,
        ModelTechnicalJunior,
    )
    from agents.llm.masking.company_names import COMPANY_NAMES
    from agents.llm.masking.mask import Mask
    from agents.strategist.model_strategist import ModelStrategist

    minds, seed = settings.minds, settings.seed
    timed = minds.latency == "recorded"
    mask = Mask(symbols, COMPANY_NAMES, minds.people, salt=str(seed)) if minds.masking else None
    speakers: dict[JuniorName, ModelJunior] = {}
    if minds.of("news") != "rules":
        speakers["news"] = ModelNewsJunior(
            backend.identity("news"), seed=seed, mask=mask, timed=timed, shown=minds.news_shown
        )
    for junior in (ModelTechnicalJunior, ModelFundamentalJunior):
        if minds.of(junior.name) != "rules":
            speakers[junior.name] = junior(
                backend.identity(junior.name), seed=seed, mask=mask, timed=timed
            )
    if minds.of("strategist") == "rules":
        return speakers, fallback
    loo = minds.leave_one_out
    return speakers, ModelStrategist(
        backend, fallback, seed=seed, mask=mask, timed=timed, leave_one_out=loo
    )


def mind_name(settings: Settings) -> str:
    """Return the kind of minds, or of each role that differs: "rules", "rules, news: vllm"."""
    minds = settings.minds
    others = [
        f"{role}: {kind}" for role, kind in sorted(minds.roles.items()) if kind != minds.kind
    ]
    return ", ".join([minds.kind, *others])
