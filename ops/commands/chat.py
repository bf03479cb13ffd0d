"""The command `chat` answers questions about a run."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.commands.options import (
    Config,
    Json,
    LibraryPath,
    Phrasing,
    RunId,
    Seed,
    explainer_settings,
    library_or_own,
)


def chat(
    ask: Annotated[
        list[str] | None, typer.Option(help="A question; may be given again. Else they are typed.")
    ] = None,
    library: LibraryPath = None,
    run_id: RunId = None,
    minds: Phrasing = None,
    config: Config = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Answer questions about a run from its record; ends with its input."""
    settings = explainer_settings(config, minds, seed)
    from ops.composition.answers import open_answers
    from ops.display.answered import print_turn, typed_questions

    with open_answers(library_or_own(library), run_id, settings) as answers:
        for question in ask or typed_questions(answers.run):
            print_turn(question, answers.ask(question), as_json, repeated=bool(ask))
