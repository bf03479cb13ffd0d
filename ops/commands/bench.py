"""`bench`: measure speed and learning."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.commands.options import Group, Json, Seed, show

bench_app = typer.Typer(cls=Group, help="Measure speed and learning.", no_args_is_help=True)


class Attacked(StrEnum):
    """The minds that hostile news are tried on."""

    FOOLED = "fooled"
    EMBEDDED = "embedded"
    VLLM = "vllm"


@bench_app.command("desk")
def bench_desk(
    sessions: Annotated[
        int, typer.Option(min=2, help="Sessions of 390 bars; trading begins after 60.")
    ] = 80,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Compare the desk's bars/s with the bare engine's, on 1-minute bars of 8 instruments."""
    from ops.bench.desk import bench_desk as bench

    show(bench(sessions=sessions, seed=seed or 0), as_json)


@bench_app.command("port")
def bench_port(
    cases: Annotated[int, typer.Option(min=4, help="Cases that each mind is sent.")] = 20,
    as_json: Json = False,
) -> None:
    """Measure how long the asynchronous port holds an event loop while its mind misbehaves."""
    import logging

    from config.settings import load_settings
    from ops.bench.port import bench_port as bench
    from ops.composition.model_minds import build_mind

    logging.getLogger("strategies.ports").setLevel(logging.CRITICAL)  # misses are what it makes
    show(bench(build_mind(load_settings()), cases=cases), as_json)


@bench_app.command("supervisor")
def bench_supervisor(
    decisions: Annotated[int, typer.Option(min=100)] = 10_000,
    seeds: Annotated[int, typer.Option(min=1)] = 5,
    pool: Annotated[
        int, typer.Option(min=1, help="Look-alike cases that one reward averages; 1: a desk's.")
    ] = 1_000,
    out: Annotated[Path | None, typer.Option(help="Where to write the curves, a PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the routes' accuracy and regret on the simulator, against three baselines."""
    from ops.bench.desk import bench_supervisor as bench

    show(bench(decisions=decisions, seeds=seeds, pool=pool, out=out), as_json)


@bench_app.command("library")
def bench_library(
    rows: Annotated[int, typer.Option(min=1)] = 400_000,
    decisions: Annotated[int, typer.Option(min=1)] = 1_000_000,
    as_json: Json = False,
) -> None:
    """Measure the experience library: rows/s written, and the best thousand of many read."""
    from ops.bench.library import bench_library as bench

    show(bench(rows=rows, decisions=decisions), as_json)


@bench_app.command("minds")
def bench_minds(
    minds: Annotated[str, typer.Option(help="embedded or vllm.")] = "embedded",
    prompts: Annotated[int, typer.Option(min=1, help="Questions asked for validity.")] = 1_000,
    decisions: Annotated[int, typer.Option(min=1, help="Decisions timed.")] = 4,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Measure language models: valid answers, speed, the hierarchy's overhead, the cache."""
    from config.settings import load_settings

    settings = load_settings("minds", {"minds.kind": minds, "seed": seed})
    from ops.bench.minds import bench_minds as bench

    show(bench(settings, prompts=prompts, decisions=decisions), as_json)


@bench_app.command("hostile")
def bench_hostile(
    minds: Annotated[
        Attacked, typer.Option(help="Who is attacked; fooled obeys the attacker.")
    ] = Attacked.FOOLED,
    decisions: Annotated[int, typer.Option(min=1, help="Decisions of each kind's run.")] = 1,
    as_json: Json = False,
) -> None:
    """Attack the whole path with hostile news; exit 1 if anything gets past schema or gate."""
    from ops.bench.hostile import run_hostile

    if any(row.harms for row in run_hostile(minds.value, decisions=decisions, as_json=as_json)):
        raise typer.Exit(1)


@bench_app.command("parity")
def bench_parity(
    schedules: Annotated[int, typer.Option(min=1, help="Random schedules, kinds in turn.")] = 48,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Run random schedules through the engine and the training twin; exit 1 on a difference."""
    from ops.bench.environments import run_parity

    if run_parity(schedules, seed or 0, as_json):
        raise typer.Exit(1)


@bench_app.command("envs")
def bench_envs(seed: Seed = 0, as_json: Json = False) -> None:
    """Measure steps/s of the engine and of the training twin, holding and with orders."""
    from ops.bench.environments import run_envs

    run_envs(seed or 0, as_json)


@bench_app.command("ablations")
def bench_ablations(
    training: Annotated[Path, typer.Argument(help="The folder of a `train allocator`.")],
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each variant.")] = 5,
    timesteps: Annotated[
        int | None, typer.Option(min=1, help="Steps of each joint training; its own by default.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of each macro pre-training.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where trainings go; TRAINING/ablations by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train without projection, without curriculum or without graph, over several seeds."""
    from ops.bench.print_ablations import ablate

    place = out or training / "ablations"
    ablate(training, place, seeds=seeds, timesteps=timesteps, epochs=epochs, as_json=as_json)
