"""The command `data export` writes the experience library to files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.commands import options


class Format(StrEnum):
    """What a file may be."""

    JSONL = "jsonl"
    PARQUET = "parquet"


def data_export(
    out: Annotated[Path, options.out_to("the exported file, which ends in .jsonl or .parquet")],
    table: Annotated[
        str,
        typer.Option(help="experiences (decisions with outcomes and reward), or a table."),
    ] = "experiences",
    library: options.LibraryPath = None,
    run_id: Annotated[
        str | None,
        typer.Option("--run", help="One run's id, or its beginning; all runs by default."),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="By default as the file's name ends.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only so many experiences, the best-rewarded first.")
    ] = None,
    min_reward: Annotated[
        float | None,
        typer.Option(callback=options.finite, help="Only experiences with at least this reward."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there and of that format.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Write the experience library, or one run of it, to a file: whole or not at all."""
    from learning.experience.export import Chosen, export
    from learning.experience.library import open_library
    from learning.experience.reading import find_run
    from learning.experience.running import left_running
    from ops.printing import open_console, print_facts, print_notes, progress_bar

    place = options.library_or_own(library)
    with open_library(place, create=False) as held:
        print_notes(left_running(held))
        run = None if run_id is None else find_run(held, run_id).run_id
        chosen = Chosen(table=table, run_id=run, top=top, min_reward=min_reward)
        with progress_bar(open_console(as_json=True)) as bar:
            task = bar.add_task(table, total=None)
            rows = export(
                held,
                out,
                chosen,
                form=None if form is None else form.value,
                overwrite=overwrite,
                progress=lambda done, of: bar.update(task, completed=done, total=of),
            )
    facts = {"file": str(out), "table": table, "run": run, "rows": rows}
    print_facts(facts, as_json)
