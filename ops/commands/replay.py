"""The command `replay` makes a recorded decision again, or makes it otherwise."""

from typing import Annotated

import typer

from ops.commands import options


def replay(
    decision_id: options.DecisionId,
    library: options.LibraryPath = None,
    run_id: options.RunId = None,
    without: Annotated[
        list[str] | None, typer.Option(help="What if this junior were silent; may be repeated.")
    ] = None,
    route: Annotated[
        str | None, typer.Option(help="What if these were asked, as news+technical.")
    ] = None,
    minds: Annotated[
        str | None, typer.Option(help="What if these decided: rules, embedded or vllm.")
    ] = None,
    state: options.State = None,
    completions_file: options.CompletionsFile = None,
    as_json: options.Json = False,
) -> None:
    """
    Make a recorded decision again, compare it to the byte, or ask what if.

    Exit code 1: the decision is not the recorded one.
    """
    from learning.experience.library import open_library
    from learning.experience.running import left_running
    from ops.composition.time_machine import find_original, replay_decision
    from ops.composition.what_if import decide_otherwise, read_change
    from ops.display.replayed import print_otherwise, print_replay
    from ops.printing import print_notes

    change = read_change(route, without or (), minds)
    with open_library(options.library_or_own(library), create=False) as held:
        print_notes(left_running(held))
        original = find_original(held, decision_id, run_id)
        if change is not None:
            other = decide_otherwise(held, original, change, state, completions_file)
            print_otherwise(original, change, other, as_json)
            return
        again = replay_decision(held, original, state, completions_file)
    print_replay(again, as_json)
    if not again.identical:
        raise typer.Exit(1)
