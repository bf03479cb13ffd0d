"""
The exception tree, grouped by what the operator must do.

    QuarterdeckError
    ├── ConfigError        fix the input and start again (exit code 2)
    │   ├── DataError      the same, for a file or a table that was given
    │   └── ReplayMiss     a replay was asked for and the cache does not hold it
    ├── Halt               stop trading, page someone
    │   ├── FutureDataError    a case was given something it could not have known
    │   ├── OrderFailed        a venue did not take or fill an order
    │   └── RunIncomplete      the run ended before its data did
    └── Retryable          back off and try again

Messages read "expected ..., was ...".
"""

from collections.abc import Iterable

NAME_WIDTH = 60  # of one name in a list; a longer one is cut


def one_line(error: BaseException) -> str:
    """Return an error's words on one line."""
    return " ".join(str(error).split())


def listed(names: Iterable[str], most: int = 10) -> str:
    """Return the first `most` names for a message, and how many more there are."""
    every = list(names)
    shown = [n if len(n) <= NAME_WIDTH else f"{n[: NAME_WIDTH - 3]}..." for n in every[:most]]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(shown) + more


class QuarterdeckError(Exception):
    """Base of everything that Quarterdeck raises on purpose."""


class ConfigError(QuarterdeckError):
    """What a human gave is wrong: fix it and start again."""


class DataError(ConfigError):
    """A data file or table is wrong: fix it and start again."""


class ReplayMiss(ConfigError):
    """A replay was asked for and the cache does not hold it: record first, or undo the change."""


class Halt(QuarterdeckError):
    """Going on would be unsafe: stop trading and page someone."""


class FutureDataError(Halt):
    """A case was given something that was not yet known at its stamp."""


class OrderFailed(Halt):
    """A venue did not take an order, or ended it unfilled."""


class RunIncomplete(Halt):
    """A run ended before its data did, or its engine logged an error."""


class Retryable(QuarterdeckError):
    """A service failed in a way that may pass: back off and try again."""
