"""`replay`, `explain`, `commentary`, `chat`: what asks the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from config.paths import data_home
from ops.commands.options import CompletionsFile, Json, LibraryPath, RunId, State

if TYPE_CHECKING:
    from ops.composition.answers import Asked


Phrasing = Annotated[
    str,
    typer.Option("--minds", help="Who phrases the facts: rules, embedded or vllm."),
]


def replay(
    decision_id: Annotated[str, typer.Argument(help="A decision's id, or its beginning.")],
    library: LibraryPath = None,
    run_id: RunId = None,
    without: Annotated[
        list[str] | None, typer.Option(help="What if this junior were silent; may be repeated.")
    ] = None,
    route: Annotated[
        str | None, typer.Option(help="What if these were asked, as news+technical.")
    ] = None,
    minds: Annotated[
        str | None, typer.Option(help="What if these decided: rules, embedded or vllm.")
    ] = None,
    state: State = None,
    completions_file: CompletionsFile = None,
    as_json: Json = False,
) -> None:
    """Make a recorded decision again, compare it to the byte, or ask what if."""
    from ops.composition.what_if import read_change
    from ops.display.replayed import Asked, run_replay

    asked = Asked(
        decision_id=decision_id,
        library=library or str(data_home() / "experience.sqlite"),
        run=run_id,
        state=state,
        completions=completions_file,
        change=read_change(route, without or (), minds),
        as_json=as_json,
    )
    code = run_replay(asked)
    if code:
        raise typer.Exit(code)


def explain(
    decision_id: Annotated[str, typer.Argument(help="A decision's id, or its beginning.")],
    symbol: Annotated[str | None, typer.Option(help="Only this instrument.")] = None,
    library: LibraryPath = None,
    run_id: RunId = None,
    minds: Phrasing = "rules",
    as_json: Json = False,
) -> None:
    """Say why a decision was made and what came of it, from its record."""
    from ops.composition.answers import run_explain

    run_explain(_asked(library, run_id, minds, as_json), decision_id, symbol)


def commentary(
    date: Annotated[str, typer.Option(help="The session, YYYY-MM-DD.")],
    library: LibraryPath = None,
    run_id: RunId = None,
    minds: Phrasing = "rules",
    as_json: Json = False,
) -> None:
    """Say what a session's market was like, what was decided and why."""
    from ops.composition.answers import run_commentary

    run_commentary(_asked(library, run_id, minds, as_json), date)


def chat(
    ask: Annotated[
        list[str] | None, typer.Option(help="A question; may be given again. Else they are typed.")
    ] = None,
    library: LibraryPath = None,
    run_id: RunId = None,
    minds: Phrasing = "rules",
    as_json: Json = False,
) -> None:
    """Answer questions about a run from its record; ends with its input."""
    from ops.composition.answers import run_chat

    run_chat(_asked(library, run_id, minds, as_json), ask or ())


def _asked(library: str | None, run_id: str | None, minds: str, as_json: bool) -> Asked:
    from config.settings import load_settings
    from ops.composition.answers import Asked

    return Asked(
        library=library or str(data_home() / "experience.sqlite"),
        run=run_id,
        settings=load_settings("backtest", {"minds.roles.explainer": minds}),
        as_json=as_json,
    )
