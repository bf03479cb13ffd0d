"""Options that several commands share, and how plain facts are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup, TyperOption


class Group(TyperGroup):
    """A group of commands whose help needs no pydantic, which takes 0.2 s to import."""

    def get_help_option(self, ctx: Any) -> TyperOption | None:
        """Return the help option; typer asks pydantic for any absent value but True and False."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


Source = Annotated[
    str, typer.Argument(help="packaged, packaged:apple, simulator, a folder, a file, a catalog.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines on standard output.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of all chance.")]
LibraryPath = Annotated[
    str | None, typer.Option("--library", help="Experience library: a file or a database URL.")
]
RunId = Annotated[
    str | None, typer.Option("--run", help="A run's id, or its beginning; the newest by default.")
]
Minds = Annotated[
    str | None, typer.Option("--minds", help="Which minds decide: rules, embedded or vllm.")
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "--config",
        help="A profile's name or a YAML file; by default `backtest`, and `minds` for language "
        "models.",
    ),
]


Completions = Annotated[
    str | None,
    typer.Option(help="Language models' answers: live, record, replay or replay-or-live."),
]
CompletionsFile = Annotated[
    Path | None, typer.Option(help="Where answers are kept; one file for all by default.")
]
Start = Annotated[str | None, typer.Option(help="First day that decides.")]
End = Annotated[str | None, typer.Option(help="Last day.")]
Symbols = Annotated[str | None, typer.Option(help="Comma-separated; all by default.")]
Policies = Annotated[
    Path | None,
    typer.Option("--allocator", help="Folder of trained policies: top, bottom, bottom-<group>."),
]
State = Annotated[Path | None, typer.Option(help="A run's state folder to start on.")]
Out = Annotated[Path | None, typer.Option(help="Run folder; runs/<run_id> by default.")]


def profile_of(profile: str | None, minds: str | None) -> str:
    """Return the profile that was asked for, or the one that suits the minds."""
    return profile or ("backtest" if minds in (None, "rules") else "minds")


def show(facts: dict[str, Any], as_json: bool) -> None:
    """Print facts, a line each or as JSON."""
    if as_json:
        print(json.dumps(facts))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
