"""The command `explain` says why a decision was made."""

from typing import Annotated

import typer

from ops.commands import options


def explain(
    decision_id: options.DecisionId,
    symbol: Annotated[str | None, typer.Option(help="Only this instrument.")] = None,
    library: options.LibraryPath = None,
    run_id: options.RunId = None,
    minds: options.Phrasing = None,
    config: options.Config = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Say why a decision was made and what came of it, from its record."""
    settings = options.explainer_settings(config, minds, seed)
    from ops.composition.answers import open_answers
    from ops.display.answered import print_page

    with open_answers(options.library_or_own(library), run_id, settings) as answers:
        print_page(answers.explain(decision_id, symbol), as_json)
