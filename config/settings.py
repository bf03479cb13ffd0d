"""
Typed settings: frozen structs, filled from a YAML profile, then from the environment.

Ranges live in the types; an unknown or wrong field is refused with its path. The environment
overrides a field by its path, `QUARTERDECK_LIMITS__MAX_POSITION=0.05`, `QUARTERDECK_SEED=7`; a
variable of that prefix that names none is refused. Secrets are in `secrets.py` and never here, so
that settings can be hashed, printed and stored with every run.
"""

import copy
import datetime as dt
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from config.costs import COST_FRAC, SPREAD_BPS
from config.errors import ConfigError, shown
from config.files.yaml_text import check_plain, load_yaml, read_yaml

Frac = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0, le=1e12)]  # finite, and within Nautilus's Money
NonNegative = Annotated[float, Meta(ge=0.0, le=1e12)]
Count = Annotated[int, Meta(ge=1)]

PROFILES = Path(__file__).parent / "profiles"
ENV_PREFIX = "QUARTERDECK_"
NO_SETTINGS = ("QUARTERDECK_HOME", "QUARTERDECK_TEST_")  # how variables of other purposes begin


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Base of all settings structs.

    `renamed` maps the dotted paths that a file may still have from before to their names now:
    they are refused, and the message says what to write.
    """

    renamed: ClassVar[Mapping[str, str]] = {}


class DataSettings(_Settings, frozen=True, kw_only=True):
    """
    Which source a run trades, and over which dates (inclusive, in the calendar's sessions).

    Without `start` a run decides as early as its features are warm, without `end` until the
    source's end. Where another source is traded than the one that a profile names, the
    profile's dates and symbols are left out (`load_settings`).
    """

    source: str = "packaged"
    start: str | None = None  # YYYY-MM-DD
    end: str | None = None
    symbols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, text in (("start", self.start), ("end", self.end)):
            if text is not None and not _is_day(text):
                raise ValueError(f"expected {name} as YYYY-MM-DD, was {text!r}")
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError(
                f"expected a start on or before the end, was {self.start} to {self.end}"
            )


def _is_day(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


class MarketSettings(_Settings, frozen=True, kw_only=True):
    """The rules of the market that a simulated venue follows."""

    currency: str = "USD"
    starting_cash: Positive = 100_000.0
    cost_frac: Frac = COST_FRAC  # of notional per fill, unless the instrument has its own
    spread_bps: NonNegative = SPREAD_BPS
    slippage_probability: Frac = 0.5  # of one tick, per fill
    open_liquidity_frac: Frac = 0.05  # of the trailing mean volume, at the opening's touch
    financing_bps_per_year: NonNegative = 150.0  # on borrowed or shorted notional, FX and CFDs
    delisting_sessions: Count = 10  # without a bar while others trade: the position is closed
    delisting_recovery: Frac = 1.0  # of the last price that a delisted position is closed at


type StopKind = Literal["fraction", "volatility", "none"]


class LimitSettings(_Settings, frozen=True, kw_only=True):
    """Every limit of the risk gate; fractions of equity."""

    max_position: Frac = 0.10
    max_group: Frac = 0.40
    max_gross: Annotated[float, Meta(ge=0.0, le=20.0)] = 1.0
    max_var: Frac = 0.02  # one-day 99% filtered historical simulation
    max_correlation: NonNegative = 0.7
    headroom: Frac = 0.95  # targets are cut to this share of a limit, so that drift has room
    volatility_target: Positive | None = None  # a year's; a decision is scaled down to it
    stop: StopKind = "fraction"
    stop_loss: Frac = 0.02  # of the average entry, for `fraction`
    stop_sigmas: Positive = 3.0  # weekly standard deviations of the last 20 sessions, `volatility`
    stop_cooldown_sessions: Annotated[int, Meta(ge=0)] = 20  # before a stopped one may grow again
    max_drawdown: Frac = 0.25  # the breaker: beyond it the book is only reduced
    price_collar: Frac = 0.20  # refuse increases this far from the last close
    stale_sessions: Count = 3  # no increase on a price older than this
    max_volume_frac: Positive = 0.10  # of the mean daily volume: a larger order is cut
    max_orders_per_session: Count = 500
    min_history: Count = 60  # sessions of returns before an instrument may be bought
    kill_switch: bool = False

    @property
    def stop_text(self) -> str:
        """The stop in words."""
        if self.stop == "none":
            return "no stop"
        if self.stop == "fraction":
            return f"a stop {self.stop_loss:.1%} from the average entry"
        return f"a stop {self.stop_sigmas:g} weekly standard deviations from the average entry"


UNLIMITED = LimitSettings(
    max_position=1.0,
    max_group=1.0,
    max_var=1.0,
    max_correlation=1e9,
    headroom=0.99,  # the rest pays the costs of getting in
    stop="none",
    stop_cooldown_sessions=0,
    max_volume_frac=1e6,
    max_drawdown=1.0,
    price_collar=1.0,
    min_history=1,
    max_orders_per_session=1_000_000,
)
"""No limit but gross: what an ungated baseline runs under."""


class SupervisorSettings(_Settings, frozen=True, kw_only=True):
    """NeuralUCB's numbers."""

    hidden: Count = 128
    exploration: NonNegative = 1.0
    exploration_decay: Frac = 0.995
    learning_rate: Positive = 1e-3
    batch_size: Count = 32
    train_every: Count = 32
    regularisation: Positive = 1.0
    precision: Literal["last_layer", "diagonal", "full"] = "last_layer"
    memory: Count = 10_000
    token_price: NonNegative = 0.002  # reward units per thousand tokens
    second_price: NonNegative = 0.001  # reward units per second that its juniors took
    junior_price: NonNegative = 0.01  # reward units per junior asked, whatever it is


class AllocatorSettings(_Settings, frozen=True, kw_only=True):
    """The baseline allocator's numbers, and the trained policies that take its place."""

    lookback: Count = 252
    prior_ic: Frac = 0.02  # of a junior of whom nothing is known: a view's information coefficient
    prior_outcomes: Positive = 100.0  # how many independent outcomes the prior counts for
    risk_aversion: Positive = 20.0  # of views: at 2 a conviction of 0.2 asks for 15% of equity
    tau: Positive = 0.05
    gross: Annotated[float, Meta(ge=0.0, le=20.0)] = 1.0
    exit_conviction: Frac = 0.5  # from which a SELL exits; a weaker one is a view like any other
    policies: str = ""  # a folder of `top` and `bottom` or `bottom-<group>`; "": the baselines


class DeskSettings(_Settings, frozen=True, kw_only=True):
    """When the desk decides and how it trades."""

    decide_every_sessions: Count = 1
    horizon: Literal["short", "medium", "long"] = "medium"
    latency_ms: NonNegative = 2_000.0
    expiry_sessions: Count = 3  # of the calendar; the last at whose close a decision still holds
    no_trade_band: Frac = 0.01
    news_per_symbol: Count = 50
    panel_sessions: Count = 504

    @property
    def latency_ns(self) -> int:
        """How long after its case a decision is delivered."""
        return int(self.latency_ms * 1_000_000)


SHIPPED_JUNIORS = (
    "agents.juniors.news:RuleNewsJunior",
    "agents.juniors.technical:RuleTechnicalJunior",
    "agents.juniors.fundamental:RuleFundamentalJunior",
)
type MindKind = Literal["rules", "embedded", "vllm"]
type RoleName = Literal["news", "technical", "fundamental", "strategist", "explainer"]


class EmbeddedSettings(_Settings, frozen=True, kw_only=True):
    """The model that runs in process; its defaults need no download."""

    path: str = ""  # a folder of safetensors and tokenizer; "": SmolLM2-135M-Instruct
    adapters: dict[RoleName, str] = {}  # PEFT adapter folders, by role
    dtype: Literal["bfloat16", "float32", "int8"] = "float32"  # bfloat16 is slow without AMX
    threads: Annotated[int, Meta(ge=0)] = 0  # 0: one a core
    batch_size: Count = 32


class ServerSettings(_Settings, frozen=True, kw_only=True):
    """An OpenAI-compatible server; `python -m` and flags of ours are in ops/vllm."""

    base_url: str = "http://127.0.0.1:8000/v1"
    model: str = "smollm2-135m-instruct"
    adapters: dict[RoleName, str] = {}  # served LoRA model names, by role
    weights: str = ""  # SHA-256 that the server must serve; "": whatever it names
    concurrency: Count = 32
    retries: Annotated[int, Meta(ge=0)] = 2
    backoff_seconds: NonNegative = 0.5  # before the first retry, doubled each time, with jitter
    circuit_failures: Count = 8  # in a row, until the rule-backed analysts answer
    circuit_rounds: Count = 10  # before the server is tried again

    def __post_init__(self) -> None:
        if any(mark in self.base_url for mark in "@?#"):  # settings are kept with every run
            raise ValueError(
                "expected base_url without a user, a password or a query (the key is "
                "VLLM_API_KEY, in the environment or in .env), was one with them"
            )


class BudgetSettings(_Settings, frozen=True, kw_only=True):
    """What decisions may cost; None is no bound. What was not asked for is an abstention."""

    calls_per_decision: Count | None = None
    tokens_per_decision: Count | None = None
    calls_per_run: Count | None = None
    tokens_per_run: Count | None = None
    seconds_per_round: Positive = 60.0  # the deadline of one batch
    seconds_per_run: Positive | None = None


class MindSettings(_Settings, frozen=True, kw_only=True):
    """
    Which minds decide, role by role, and how their completions are kept.

    `completions`: `live` keeps nothing, `record` asks and keeps, `replay` never asks (a miss is
    an error), `replay-or-live` asks for what was not kept. `latency`: whether a decision's
    latency is the desk's configured one or what its completions took when they were recorded.
    """

    kind: MindKind = "rules"
    roles: dict[RoleName, MindKind] = {}  # where a role differs from `kind`
    juniors: tuple[str, ...] = SHIPPED_JUNIORS  # the rule-backed: file.py:Class, module:Class
    embedded: EmbeddedSettings = EmbeddedSettings()
    vllm: ServerSettings = ServerSettings()
    budgets: BudgetSettings = BudgetSettings()
    completions: Literal["live", "record", "replay", "replay-or-live"] = "replay-or-live"
    latency: Literal["configured", "recorded"] = "configured"
    leave_one_out: bool = True  # ask the strategist again without each junior, in the same batch
    masking: bool = False  # names, tickers, people and dates in prompts
    people: dict[str, tuple[str, ...]] = {}  # by symbol: names that masking hides too
    news_shown: Count = 6  # headlines a prompt holds, the newest

    def of(self, role: RoleName) -> MindKind:
        """Return the kind of a role."""
        return self.roles.get(role, self.kind)


class WalkForwardSettings(_Settings, frozen=True, kw_only=True):
    """The windows of a walk-forward run, in sessions; the purge covers the longest horizon."""

    train: Count = 504
    test: Count = 126
    purge: Annotated[int, Meta(ge=0)] = 20
    embargo: Annotated[int, Meta(ge=0)] = 5


class Settings(_Settings, frozen=True, kw_only=True):
    """Everything that a human sets for a run."""

    data: DataSettings = DataSettings()
    market: MarketSettings = MarketSettings()
    limits: LimitSettings = LimitSettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    allocator: AllocatorSettings = AllocatorSettings()
    desk: DeskSettings = DeskSettings()
    minds: MindSettings = MindSettings()
    walk_forward: WalkForwardSettings = WalkForwardSettings()
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    stated: tuple[str, ...] = ()  # the paths that a human gave; the rest follows the kind of book

    @property
    def digest(self) -> str:
        """The SHA-256 of the settings' canonical JSON, whoever gave them."""
        values = msgspec.structs.replace(self, stated=())
        return hashlib.sha256(msgspec.json.encode(values, order="deterministic")).hexdigest()

    def band(self, instruments: int) -> float:
        """
        Return the change of a weight below which a desk of so many instruments does not trade.

        It is `desk.no_trade_band`, and at most half an even holding: with a wider one a book of
        many instruments could never be bought evenly.
        """
        even = self.limits.max_gross * self.limits.headroom / instruments
        return min(self.desk.no_trade_band, even / 2)


type _Change = tuple[list[str], Any, str]  # where it goes, the value, and who gave it


def load_settings(
    profile: str | Path = "backtest",
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """
    Return the settings of a profile, a name under `config/profiles` or a path to a YAML file.

    `environ` (by default the process's) overrides the file, `overrides` (dotted paths, as from a
    command line; None values are ignored) override both. Dates and symbols in a profile belong
    to the source that it names: where either override names another, they are left out.
    Raises ConfigError naming the path of the wrong field, and who gave it: the file, a variable
    or the flags.
    """
    tree, label = _read(profile, PROFILES)
    changes = [
        *_environment(os.environ if environ is None else environ),
        *_overridden(overrides),
    ]
    traded = [value for keys, value, _ in changes if keys == ["data", "source"]]
    data = tree.get("data")
    if traded and isinstance(data, dict) and data.get("source", traded[-1]) != traded[-1]:
        tree["data"] = {k: v for k, v in data.items() if k not in ("start", "end", "symbols")}
    settings = _convert(tree, changes, Settings, label)
    return msgspec.structs.replace(settings, stated=tuple(_leaves(tree)))


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Return the paths of all values in a tree, "limits.stop_loss"."""
    for key, value in sorted(tree.items()):
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def load_struct[S: _Settings](
    kind: type[S], name: str | Path, folder: Path, overrides: Mapping[str, Any] | None = None
) -> S:
    """
    Return settings of any kind from a YAML file, a path or the name of one in `folder`.

    `overrides` are as in `load_settings`; the environment is not read.
    Raises ConfigError naming the path of the wrong field.
    """
    tree, label = _read(name, folder)
    return _convert(tree, list(_overridden(overrides)), kind, label)


def _environment(environ: Mapping[str, str]) -> Iterator[_Change]:
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or name.startswith(NO_SETTINGS):
            continue
        keys = name.removeprefix(ENV_PREFIX).lower().split("__")
        if len(keys) == 1 and keys[0] not in _plain_fields():
            raise ConfigError(
                f"expected {name} to name a setting, as {ENV_PREFIX}SEED or "
                f"{ENV_PREFIX}LIMITS__MAX_POSITION do, was none of them"
            )
        yield keys, load_yaml(text, name), name


def _plain_fields() -> set[str]:
    """Return the fields of Settings that a human gives and that are no section of others."""
    values = msgspec.structs.asdict(Settings())
    return {name for name, value in values.items() if not isinstance(value, _Settings)} - {
        "stated"
    }


def _overridden(overrides: Mapping[str, Any] | None) -> Iterator[_Change]:
    for dotted, value in (overrides or {}).items():
        if value is not None:
            check_plain(value, dotted, "flags")
            yield dotted.split("."), value, "flags"


def _read(name: str | Path, folder: Path) -> tuple[dict[str, Any], str]:
    """Return the tree of a YAML file, by its path or its name in a folder, and its file name."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = folder / f"{name}.yaml"
    if not os.path.isfile(path):  # which a name of any length or kind may be asked
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigError(f"expected a profile ({names}) or a YAML file, was {shown(str(name))}")
    tree = read_yaml(path) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"expected a mapping in {path.name}, was {type(tree).__name__}")
    return tree, path.name


def _convert[S: _Settings](
    tree: dict[str, Any], changes: list[_Change], kind: type[S], label: str
) -> S:
    given, again = copy.deepcopy((tree, changes))
    for change in changes:
        _set(tree, *change)
    try:
        return msgspec.convert(tree, kind, strict=True)
    except msgspec.ValidationError as e:
        wrong = _with_path(e, tree, kind)
        raise ConfigError(f"{_giver(wrong, given, again, kind, label)}: {wrong}") from e


def _giver(
    wrong: str, tree: dict[str, Any], changes: list[_Change], kind: type[_Settings], label: str
) -> str:
    """Return who gave what is wrong: the file, or the first change with which it is there."""
    for change in changes:
        try:
            msgspec.convert(tree, kind, strict=True)
        except msgspec.ValidationError as e:
            if _with_path(e, tree, kind) == wrong:
                break
        _set(tree, *change)
        label = change[2]
    return label


def _set(tree: dict[str, Any], keys: list[str], value: Any, giver: str) -> None:
    dotted = ".".join(keys)
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{giver}: {dotted}: expected a field, was a path through a value")
    tree[keys[-1]] = value


def _with_path(error: msgspec.ValidationError, tree: Any, kind: type[_Settings]) -> str:
    """Turn msgspec's "Expected x, got y - at `$.a.b`" into "a.b: expected x, was <value>"."""
    match = re.fullmatch(r"(.*?)(?: - at `\$\.?(.*?)`)?", str(error), flags=re.DOTALL)
    assert match is not None
    text, path = match.group(1), match.group(2)
    if text.startswith("expected "):  # a struct's own check
        return f"{path}: {text}"
    unknown = re.search(r"unknown field `(.*?)`", text)
    if unknown:
        path = ".".join(filter(None, [path, unknown.group(1)]))
        if path in kind.renamed:
            return f"{path}: expected the key {kind.renamed[path]}, was {path}, its former name"
        return f"{path}: expected a known field, was unknown"
    for key in (path or "").split("."):
        tree = tree.get(key, tree) if isinstance(tree, dict) else tree
    found = re.fullmatch(r"Expected (.*?)(?:, got .*)?", text, flags=re.DOTALL)
    expected = found.group(1) if found else _choices(kind, path) or f"another value ({text})"
    return f"{path or 'profile'}: expected {expected}, was {shown(tree)}"


def _choices(kind: type[_Settings], path: str | None) -> str:
    """Return the values that a field may have, as `a, b or c`; "" where it has no such list."""
    from msgspec.inspect import type_info

    info: Any = type_info(kind)
    for key in (path or "").split("."):
        fields = {field.name: field.type for field in getattr(info, "fields", ())}
        info = fields.get(key)
    values = [str(value) for value in getattr(info, "values", ())]
    return " or ".join(filter(None, [", ".join(values[:-1]), *values[-1:]]))
