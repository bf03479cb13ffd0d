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

Messages read "expected ..., was ...". A value from outside stands in them as `shown`, cut in
its middle, so that what was expected is left whole.
"""

import re
from collections.abc import Iterable
from typing import Any

MOST_CHARS = 300  # of a line that is printed
MOST_MESSAGE = 280  # of an error's; the rest is for what a program says before it
MOST_SHOWN = 80  # of a value in it
NAME_WIDTH = 60  # of one name in a list; a longer one is cut

# from a scheme, whose slashes a path has folded into one, to the last @: a password may hold one
_USER = re.compile(r"(:/{1,3}|//)[^\s'\"]*@")
_KEY = re.compile(
    r"(?<=[?&;])([\w.-]*(?:key|token|secret|passw|pwd|credential|sig)[\w.-]*)=[^&\s'\"]*",
    flags=re.IGNORECASE,
)


def one_line(error: BaseException) -> str:
    """Return an error's words on one line, without passwords and control characters."""
    return printable(masked(str(error)))


def shown(value: Any, most: int = MOST_SHOWN) -> str:
    """Return a value as a message shows it: on one line, without passwords, cut in the middle."""
    return cut(masked(repr(value)), most)


def printable(text: str) -> str:
    """Return a text on one line, with escapes for what would move a cursor or turn a line."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def masked(text: str) -> str:
    """Return a text whose URLs name no user and no password, and whose queries hold no key."""
    return _KEY.sub(r"\1=***", _USER.sub(r"\1***@", text))


def cut(text: str, most: int) -> str:
    """Return a text of at most `most` characters; its middle goes first."""
    tail = most // 3
    return text if len(text) <= most else f"{text[: most - 1 - tail]}…{text[-tail:]}"


def listed(names: Iterable[str], most: int = 10) -> str:
    """Return the first `most` names for a message, and how many more there are."""
    every = list(names)
    shown = [n if len(n) <= NAME_WIDTH else f"{n[: NAME_WIDTH - 3]}..." for n in every[:most]]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(shown) + more


class QuarterdeckError(Exception):
    """
    Base of everything that Quarterdeck raises on purpose.

    Its message is one line whatever stands in it: printable, without passwords of URLs, and cut in
    the middle where it is too long to be read.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(cut(printable(masked(message)), MOST_MESSAGE))


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
