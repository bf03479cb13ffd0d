"""The command `commentary` says what a session was like."""

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


def commentary(
    date: Annotated[str, typer.Option(help="The session, YYYY-MM-DD.")],
    library: LibraryPath = None,
    run_id: RunId = None,
    minds: Phrasing = None,
    config: Config = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Say what a session's market was like, what was decided and why."""
    settings = explainer_settings(config, minds, seed)
    from backtest.market.sessions import parse_day
    from ops.composition.answers import open_answers
    from ops.display.answered import print_page

    parse_day(date, "--date")
    with open_answers(library_or_own(library), run_id, settings) as answers:
        print_page(answers.comment(date), as_json)
