"""
Measures language models as minds: valid answers, speed, the hierarchy's own cost, the cache.

The questions are the minds' own, collected from weekly cases of the simulated market on which a
model that answers anything is asked about everything, so that prompts and schemas are what a run
sends. Everything is measured in one run; ratios hold on a busy machine, absolute figures do not.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import track

from agents.arrays import Panel
from agents.llm.chat import ChatBackend, ChatRequest, Completion
from agents.llm.schema import violation
from agents.messages import Case, Decision, TrackRecord
from agents.protocols import Feedback, Mind
from agents.supervisor.plain_routers import AlwaysAll
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.market.market_data import MarketData, window
from backtest.plan import warmup_sessions
from backtest.sources import open_source
from config.errors import ConfigError
from config.files.paths import data_home
from config.settings import BudgetSettings, Settings
from ops.bench.hostile import FooledBackend, RecordingBackend
from ops.bench.replay_cache import measure_replay
from ops.composition.model_minds import build_mind, open_models

BATCH = 16


class _Timed(Mind):
    """A mind that measures what deciding takes, and leaves off after so many decisions."""

    def __init__(self, inner: Mind) -> None:
        self.name = inner.name
        self.seconds = 0.0
        self._inner = inner

    def track(self) -> tuple[TrackRecord, ...]:
        return self._inner.track()

    def decide(self, case: Case, panel: Panel, *, latency_ns: int, expires: int) -> Decision:
        began = time.perf_counter()
        decision = self._inner.decide(case, panel, latency_ns=latency_ns, expires=expires)
        self.seconds += time.perf_counter() - began
        return decision

    def observe(self, feedback: Sequence[Feedback]) -> None:
        self._inner.observe(feedback)

    def learn(self, feedback: Sequence[Feedback]) -> None:
        self._inner.learn(feedback)


def measure_minds(settings: Settings, *, prompts: int, decisions: int) -> dict[str, Any]:
    """
    Return the figures of the models that the settings name.

    `prompts` questions are asked for validity and speed; `decisions` whole ones are made for the
    hierarchy's overhead: the time of `decide` over that of the backend's calls within it, less 1.
    """
    unbound = BudgetSettings(seconds_per_round=600.0)  # a budget would refuse what is measured
    minds = msgspec.structs.replace(settings.minds, completions="live", budgets=unbound)
    settings = msgspec.structs.replace(settings, minds=minds)
    console = Console(stderr=True)
    questions = collect_questions(settings, prompts)
    with open_models(settings) as models:
        if models is None:
            raise ConfigError(f"expected minds embedded or vllm, was {minds.kind!r}")
        figures = _answers(models.backend, questions, console)
        before = models.backend.wall_seconds
        timed = _Timed(build_mind(settings, backend=models.backend))
        _run(_weeks(settings, decisions), settings, timed)
        asked = models.backend.wall_seconds - before
        figures |= {
            "decisions": decisions,
            "hierarchy_seconds": round(timed.seconds, 3),
            "backend_seconds": round(asked, 3),
            "overhead_frac": round(timed.seconds / asked - 1.0, 4),
            "most_rounds_of_a_decision": models.backend.max_rounds_of_decision,
        }
    if minds.kind == "embedded":
        from agents.llm.embedded.embedded_backend import EmbeddedBackend
        from ops.bench.embedded import measure_engine

        engine = EmbeddedBackend(minds.embedded, data_home())
        own = measure_engine(engine, questions[:BATCH], batch=BATCH)
        figures |= {f"engine_{name}": round(value, 3) for name, value in own.items()}
    with tempfile.TemporaryDirectory() as folder:
        cache = measure_replay(Path(folder) / "completions.sqlite")
    return figures | {f"cache_{name}": value for name, value in cache.items()}


def collect_questions(settings: Settings, count: int) -> list[ChatRequest]:
    """Return `count` questions of all roles, as a run on the simulator would ask them."""
    everything = msgspec.structs.replace(
        settings, data=msgspec.structs.replace(settings.data, symbols=())
    )
    recording = RecordingBackend(FooledBackend())
    mind = build_mind(everything, backend=recording)
    mind.router = AlwaysAll()
    market = _market(everything)
    per_decision = 4 * len(market.instruments)  # three juniors and the strategist
    weeks = min(-(-count // per_decision) * 2, len(market.session_closes) // 5)
    _run(_weeks(everything, weeks), everything, mind)
    questions = [question for question, _ in recording.heard]
    if len(questions) < count:
        raise ConfigError(f"expected at most {len(questions)} prompts, was {count}")
    step = len(questions) / count  # spread over roles and weeks
    return [questions[int(k * step)] for k in range(count)]


def _answers(
    backend: ChatBackend, questions: Sequence[ChatRequest], console: Console
) -> dict[str, Any]:
    valid, tokens = 0, 0
    failures: Counter[str] = Counter()
    began = time.perf_counter()
    batches = [questions[k : k + BATCH] for k in range(0, len(questions), BATCH)]
    for batch in track(
        batches, "questions", console=console, disable=not console.is_terminal, transient=True
    ):
        for question, answer in zip(batch, backend.complete(batch), strict=True):
            if isinstance(answer, Completion):
                schema = msgspec.json.decode(question.schema)
                valid += violation(schema, answer.text) is None
                tokens += answer.completion_tokens
            else:
                failures[answer.kind] += 1
    seconds = time.perf_counter() - began
    return {
        "prompts": len(questions),
        "valid": valid,
        "failures": dict(sorted(failures.items())),
        "questions_per_minute": round(60 * len(questions) / seconds, 1),
        "answer_tokens_per_second": round(tokens / seconds, 1),
    }


def _market(settings: Settings) -> MarketData:
    data = settings.data
    return open_source(data.source, symbols=data.symbols, seed=settings.seed)


def _weeks(settings: Settings, decisions: int) -> tuple[MarketData, int]:
    """Return the market of the last `decisions` weekly decisions, and the first's stamp."""
    market = _market(settings)
    every = settings.desk.decide_every_sessions
    start = market.session_closes[-(every * decisions)]
    return window(market, start, warmup_sessions(settings))


def _run(weeks: tuple[MarketData, int], settings: Settings, mind: Mind) -> None:
    market, decide_from = weeks
    run_book(BookSpec(mind.name, market, settings, decide_from), mind)
