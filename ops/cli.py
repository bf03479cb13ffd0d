"""
The command line: `quarterdeck COMMAND`. The composition root of everything that runs by hand.

Commands import what they need when they run, so that `--help` answers at once. Bad input ends
in one line on standard error and exit code 2, an unsafe end or a service that is away in 1,
Ctrl-C in 130.
"""

from __future__ import annotations

import os
import sys

import typer

from config.errors import ConfigError, Halt, Retryable
from ops.commands import ask, run
from ops.commands.bench import bench_app
from ops.commands.data import data_app
from ops.commands.evaluate import evaluate_app
from ops.commands.options import Group
from ops.commands.train import train_app

app = typer.Typer(
    cls=Group,
    help="Quarterdeck: an event-driven trading system whose traders learn.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich takes longer to import than all the rest
)
for command in (
    run.backtest,
    run.paper,
    run.analyze,
    ask.replay,
    ask.explain,
    ask.commentary,
    ask.chat,
):
    app.command()(command)
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(bench_app, name="bench")

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
        _fail(f"{e.format_message()} (see --help)", 2)
    except ConfigError as e:
        _fail(str(e), 2)
    except (Halt, Retryable) as e:
        _fail(str(e), 1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)


def _fail(message: str, code: int) -> None:
    line = " ".join(message.split())
    print(f"quarterdeck: {line}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
