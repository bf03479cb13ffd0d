"""
Declares the options that several commands share: once each, with one meaning everywhere.

Every command takes those of the four common ones that mean something to it: `--config` names its
settings, `--seed` all chance, `--out` where its files go, `--json` prints for machines.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup, TyperOption

from config.errors import ConfigError, shown

if TYPE_CHECKING:
    from config.settings import Settings


class Group(TyperGroup):
    """
    A group of commands, whose help alone is printed where none of them is named.

    Its help needs no pydantic, which takes 0.2 s to import.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Print the help and end with exit code 2 where there are no words to read."""
        if not args:
            typer.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        for word in args:
            check_word(word)
        return super().parse_args(ctx, args)

    def get_help_option(self, ctx: Any) -> TyperOption | None:
        """Return the help option; typer asks pydantic for any absent value but True and False."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


def check_word(word: str) -> None:
    """Raise ConfigError for a word that is no text: bytes that are not UTF-8, or a NUL."""
    try:
        word.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"expected words in UTF-8, was {shown(word)}") from None
    if "\0" in word:
        raise ConfigError(f"expected words without NUL, was {shown(word)}")


def finite(number: float | None) -> float | None:
    """Return an option's number. Raises BadParameter for one that is not finite."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"expected a finite number, was {number}")
    return number


# --- the four common ones ------------------------------------------------------------------------

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="Settings: the name of a profile or a YAML file of one's own.",
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, max=2**63 - 1, help="Seed of all chance.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines on standard output.")]


def out_to(what: str) -> Any:
    """Return the option `--out`, the place of the files that a command writes."""
    return typer.Option("--out", help=f"Where files go: {what}.")


# --- what is traded, and by whom -----------------------------------------------------------------

SOURCES = "packaged, packaged:apple, simulator, a folder, a file, a catalog"
Source = Annotated[str, typer.Argument(help=f"{SOURCES}.")]
SourceChoice = Annotated[str | None, typer.Option("--source", help=f"What to trade: {SOURCES}.")]
Start = Annotated[str | None, typer.Option(help="First day that decides.")]
End = Annotated[str | None, typer.Option(help="Last day.")]
Symbols = Annotated[
    str | None, typer.Option(help="Comma-separated; all by default, or those of the book.")
]
Minds = Annotated[
    str | None, typer.Option("--minds", help="Which minds decide: rules, embedded or vllm.")
]
Policies = Annotated[
    Path | None,
    typer.Option("--allocator", help="Folder of trained policies: top, bottom, bottom-<group>."),
]
State = Annotated[Path | None, typer.Option(help="A run's state folder to start on.")]
Completions = Annotated[
    str | None,
    typer.Option(help="Language models' answers: live, record, replay or replay-or-live."),
]
CompletionsFile = Annotated[
    Path | None, typer.Option(help="Where answers are kept; one file for all by default.")
]

# --- what was recorded ---------------------------------------------------------------------------

LibraryPath = Annotated[
    str | None, typer.Option("--library", help="Experience library: a file or a database URL.")
]
RunId = Annotated[
    str | None, typer.Option("--run", help="A run's id, or its beginning; the newest by default.")
]
DecisionId = Annotated[str, typer.Argument(help="A decision's id, or its beginning.")]
Phrasing = Annotated[
    str | None,
    typer.Option("--minds", help="Who phrases the facts: rules (the default), embedded or vllm."),
]


def profile_of(config: str | None, minds: str | None) -> str:
    """Return the profile that was asked for, or the one that suits the minds."""
    return config or ("backtest" if minds in (None, "rules") else "minds")


def symbols_of(text: str | None) -> tuple[str, ...]:
    """Return the symbols of a comma-separated list, () for none."""
    return tuple(part for name in (text or "").split(",") if (part := name.strip()))


def library_or_own(library: str | None) -> str:
    """Return the library that was asked for, or the one in the data directory."""
    from config.files.paths import data_home

    return library or str(data_home() / "experience.sqlite")


def settings_under(
    config: str,
    *,
    source: str | None = None,
    start: str | None = None,
    end: str | None = None,
    symbols: str | None = None,
    minds: str | None = None,
    allocator: Path | None = None,
    completions: str | None = None,
    masking: bool | None = None,
    seed: int | None = None,
) -> Settings:
    """Return the settings of a profile under flags; a flag that is None changes nothing."""
    from config.settings import load_settings

    flags = {
        "data.source": source,
        "data.start": start,
        "data.end": end,
        "data.symbols": symbols_of(symbols) or None,
        "minds.kind": minds,
        "allocator.policies": None if allocator is None else str(allocator),
        "minds.completions": completions,
        "minds.masking": masking,
        "seed": seed,
    }
    return load_settings(config, flags)


def explainer_settings(config: str | None, minds: str | None, seed: int | None) -> Settings:
    """Return the settings of whom facts are phrased by; rules, unless flag or profile say."""
    from config.settings import load_settings

    named = minds or (None if config else "rules")
    return load_settings(config or "backtest", {"minds.roles.explainer": named, "seed": seed})
