"""
Checks what a command needs before it begins, so that a refusal costs a second.

A command calls this after its settings are loaded and before it imports pandas, the engine or a
model. What only the data can tell - an unknown symbol, dates outside them - is refused when the
source is opened, and what only a file's content can tell when it is read.
"""

from pathlib import Path

from config.files.paths import check_place, check_state, own_path
from config.settings import Settings
from config.sources import check_source

RUNS = Path("runs")  # where runs go that are not told where


def check_run(
    settings: Settings, *, library: str, out: Path | None = None, state: Path | None = None
) -> None:
    """
    Raise ConfigError where a run could not begin, or could not be kept.

    `library` is a path or a URL, `out` the run's folder, `state` a snapshot to start on.
    """
    check_source(settings.data.source)
    check_minds(settings, state)
    check_place(out or RUNS / "new")
    from learning.experience.store import check_library

    check_library(library, create=True)


def check_minds(settings: Settings, state: Path | None) -> None:
    """Raise ConfigError unless the start state and the allocator's policies are there."""
    if state is not None:
        check_state(state)
    if settings.allocator.policies:
        from agents.allocator.policy_file import find_policies, read_card

        for place in find_policies(own_path(settings.allocator.policies)):
            read_card(place)
