"""
The four common flags on every command where they mean something.

`--config` where something is configured, `--seed` where chance is drawn, `--out` where something
is written, `--json` where something is printed. What a command lacks stands in the table below
with the reason; a new command, a flag that is added and a reason that is left behind go red.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from ops.cli import app

COMMON = ("--config", "--seed", "--out", "--json")

RECORDED = {
    "--config": "The minds and limits are those of the recorded run.",
    "--seed": "The run's own seed is in its record.",
    "--out": "It writes nothing but its answer.",
}
ANSWERED = {"--out": "It writes nothing but its answer."}
FACTS = {
    "--config": "It reads what it is pointed at and decides nothing.",
    "--out": "It writes nothing but its answer.",
}
MEASURED = {
    "--config": "It measures fixed settings, so that figures of two days compare.",
    "--out": "It writes nothing but its figures.",
}
LACKS: dict[str, dict[str, str]] = {
    "analyze": ANSWERED,
    "replay": RECORDED,
    "explain": ANSWERED,
    "commentary": ANSWERED,
    "chat": ANSWERED,
    "data import": {
        "--config": "A source describes itself, in its source.yaml.",
        "--out": "A catalog's place is the data home's, by --name.",
    },
    "data check": FACTS,
    "data list": FACTS | {"--seed": "A list draws no chance."},
    "data export": {
        "--config": "It writes what the library holds, as it is.",
        "--seed": "A copy draws no chance.",
    },
    "evaluate allocator": {
        "--config": "The settings are those that the training's folder keeps.",
        "--seed": "Windows and markets are those of the training; resampling has a fixed seed.",
    },
    "bench desk": MEASURED,
    "bench port": MEASURED | {"--seed": "Its minds misbehave on a fixed schedule."},
    "bench supervisor": {
        "--config": MEASURED["--config"],
        "--seed": "It runs over --seeds, from 0 on, and prints their spread.",
    },
    "bench library": MEASURED | {"--seed": "Its rows are made by a fixed rule."},
    "bench minds": {"--out": MEASURED["--out"]},
    "bench hostile": MEASURED,
    "bench parity": MEASURED,
    "bench envs": MEASURED,
    "bench ablations": {
        "--config": "The settings are those that the training's folder keeps.",
        "--seed": "It trains over --seeds, from the training's own on.",
    },
}


def walk(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, by its name as it is typed."""
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from walk(inner, f"{name} {word}".strip())
    else:
        yield name, command


COMMANDS = dict(walk(get_command(app)))


def flags(command: Any) -> set[str]:
    return {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_every_common_flag_but_those_it_lacks_for_a_reason(name):
    missing = set(COMMON) - flags(COMMANDS[name])
    assert missing == set(LACKS.get(name, {}))


def test_every_command_says_what_it_found_to_machines():
    assert [name for name, command in COMMANDS.items() if "--json" not in flags(command)] == []


def test_every_reason_is_a_sentence_about_a_command_that_is_there():
    assert set(LACKS) <= set(COMMANDS)
    reasons = [why for lacks in LACKS.values() for why in lacks.values()]
    assert all(why[0].isupper() and why.endswith(".") and " " in why for why in reasons)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_common_flag_means_one_thing_everywhere(name):
    for param in COMMANDS[name].params:
        if set(param.opts) & set(COMMON):
            assert param.is_flag is ("--json" in param.opts)
            assert param.help


def test_a_common_flag_is_described_alike_everywhere():
    said: dict[str, set[str]] = {flag: set() for flag in COMMON}
    for command in COMMANDS.values():
        for param in command.params:
            for flag in set(param.opts) & set(COMMON):
                said[flag].add(param.help)
    assert [len(said[flag]) for flag in ("--config", "--seed", "--json")] == [1, 1, 1]
    assert all(help.startswith("Where files go: ") for help in said["--out"])
