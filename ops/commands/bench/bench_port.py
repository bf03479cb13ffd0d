"""The command `bench port` measures what a slow mind does to the event loop."""

from typing import Annotated

import typer

from ops.commands import options


def bench_port(
    cases: Annotated[int, typer.Option(min=4, help="Cases that each mind is sent.")] = 20,
    as_json: options.Json = False,
) -> None:
    """Measure how long the asynchronous port holds an event loop while its mind misbehaves."""
    import logging

    from config.settings import load_settings
    from ops.bench.port import measure_port
    from ops.composition.model_minds import build_mind
    from ops.printing import print_facts

    logging.getLogger("strategies.ports").setLevel(logging.CRITICAL)  # misses are what it makes
    print_facts(measure_port(build_mind(load_settings()), cases=cases), as_json)
