"""The command `chat` answers questions about a run."""

from typing import Annotated

import typer

from ops.commands import options


def chat(
    ask: Annotated[
        list[str] | None, typer.Option(help="A question; may be given again. Else they are typed.")
    ] = None,
    library: options.LibraryPath = None,
    run_id: options.RunId = None,
    minds: options.Phrasing = None,
    config: options.Config = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """
    Answer questions about a run from its record; ends with its input.

    With --json, the answers to --ask are one list, those to typed questions one line each.
    """
    settings = options.explainer_settings(config, minds, seed)
    from ops.composition.answers import open_answers
    from ops.display.answered import print_answers, print_turn, typed_questions

    with open_answers(options.library_or_own(library), run_id, settings) as answers:
        if ask and as_json:
            print_answers([(question, answers.ask(question)) for question in ask])
            return
        for question in ask or typed_questions(answers.run):
            print_turn(question, answers.ask(question), as_json, repeated=bool(ask))
