"""The command `commentary` says what a session was like."""

from typing import Annotated

import typer

from ops.commands import options


def commentary(
    date: Annotated[str, typer.Option(help="The session, YYYY-MM-DD.")],
    library: options.LibraryPath = None,
    run_id: options.RunId = None,
    minds: options.Phrasing = None,
    config: options.Config = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Say what a session's market was like, what was decided and why."""
    settings = options.explainer_settings(config, minds, seed)
    from backtest.market.sessions import parse_day
    from ops.composition.answers import open_answers
    from ops.display.answered import print_page

    parse_day(date, "--date")
    with open_answers(options.library_or_own(library), run_id, settings) as answers:
        print_page(answers.comment(date), as_json)
