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


def one_line(error: BaseException) -> str:
    """Return an error's words on one line."""
    return " ".join(str(error).split())


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
