"""The command `explain` says why a decision was made."""

from __future__ import annotations

from typing import Annotated

import typer

from ops.commands.options import (
    Config,
    DecisionId,
    Json,
    LibraryPath,
    Phrasing,
    RunId,
    Seed,
    explainer_settings,
    library_or_own,
)


def explain(
    decision_id: DecisionId,
    symbol: Annotated[str | None, typer.Option(help="Only this instrument.")] = None,
    library: LibraryPath = None,
    run_id: RunId = None,
    minds: Phrasing = None,
    config: Config = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Say why a decision was made and what came of it, from its record."""
    settings = explainer_settings(config, minds, seed)
    from ops.composition.answers import open_answers
    from ops.display.answered import print_page

    with open_answers(library_or_own(library), run_id, settings) as answers:
        print_page(answers.explain(decision_id, symbol), as_json)
