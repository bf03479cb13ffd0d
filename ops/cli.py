"""
Assembles the command line, `quarterdeck COMMAND`, and turns errors into exit codes.

A command is one file in `ops.commands`, which imports what it needs when it runs, so that
`--help` answers at once. Bad input ends in one line on standard error and exit code 2, an unsafe
end or a service that is away in 1, Ctrl-C in 130.
"""

import errno
import os
import sys
from collections.abc import Callable

import typer

from config.errors import MOST_CHARS, ConfigError, Halt, Retryable, cut, masked, printable
from ops.commands.analyze import analyze
from ops.commands.backtest import backtest
from ops.commands.bench.bench_ablations import bench_ablations
from ops.commands.bench.bench_desk import bench_desk
from ops.commands.bench.bench_envs import bench_envs
from ops.commands.bench.bench_hostile import bench_hostile
from ops.commands.bench.bench_library import bench_library
from ops.commands.bench.bench_minds import bench_minds
from ops.commands.bench.bench_parity import bench_parity
from ops.commands.bench.bench_port import bench_port
from ops.commands.bench.bench_supervisor import bench_supervisor
from ops.commands.chat import chat
from ops.commands.commentary import commentary
from ops.commands.data.data_check import data_check
from ops.commands.data.data_collect_routes import data_collect_routes
from ops.commands.data.data_export import data_export
from ops.commands.data.data_import import data_import
from ops.commands.data.data_list import data_list
from ops.commands.evaluate.evaluate_allocator import evaluate_allocator
from ops.commands.explain import explain
from ops.commands.options import Group
from ops.commands.paper import paper
from ops.commands.replay import replay
from ops.commands.train.train_allocator import train_allocator
from ops.commands.train.train_supervisor import train_supervisor

COMMANDS = (backtest, paper, analyze, replay, explain, commentary, chat)
GROUPS: dict[str, tuple[str, tuple[Callable[..., None], ...]]] = {
    "data": (
        "Import, check and list market data; export what was recorded.",
        (data_import, data_check, data_list, data_collect_routes, data_export),
    ),
    "train": ("Train the learners offline.", (train_supervisor, train_allocator)),
    "evaluate": ("Evaluate what was learned, on what it never saw.", (evaluate_allocator,)),
    "bench": (
        "Measure speed and learning.",
        (
            bench_desk,
            bench_port,
            bench_supervisor,
            bench_library,
            bench_minds,
            bench_hostile,
            bench_parity,
            bench_envs,
            bench_ablations,
        ),
    ),
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of whatever no writer of ours has turned
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

app = typer.Typer(
    cls=Group,
    help="Quarterdeck: an event-driven trading system whose traders learn.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich takes longer to import than all the rest
)
for command in COMMANDS:
    app.command()(command)
for name, (what, commands) in GROUPS.items():
    group = typer.Typer(cls=Group, help=what)
    for command in commands:  # data_collect_routes is `data collect-routes`
        group.command(command.__name__.removeprefix(f"{name}_").replace("_", "-"))(command)
    app.add_typer(group, name=name)


def main() -> None:
    """
    Run the command line; the entry point of the `quarterdeck` script.

    Linear algebra runs on one thread, before any of it is imported: sums that depend on the
    number of cores would make runs differ between machines.
    """
    for name in ONE_THREAD:
        os.environ[name] = "1"
    try:
        code = app(standalone_mode=False)
        if code == 130:  # typer has taken the KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code)
    except typer.TyperException as e:
        _fail(f"{cut(printable(e.format_message()), 250)} (see --help)", 2)
    except ConfigError as e:
        _fail(str(e), 2)
    except OSError as e:  # a place that no command could check beforehand
        where = "" if e.filename is None else f" at {e.filename}"
        wanted = "room on the disk" if e.errno in FULL else "a file or folder that can be used"
        _fail(f"expected {wanted}{where}, was: {e.strerror or e}", 2)
    except (Halt, Retryable) as e:
        _fail(str(e), 1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)


def _fail(message: str, code: int) -> None:
    """Print a message as one line, short and without passwords, and end."""
    line = cut(printable(masked(f"quarterdeck: {message}")), MOST_CHARS)
    print(line, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
