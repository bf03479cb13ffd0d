"""What a stranger writes where a number, a date, a name, a path or a URL is expected."""

import contextlib
import signal
from collections.abc import Iterator

from hypothesis import strategies as st

PASSWORD = "hunter2"
SECONDS = 10.0  # that anything may take at most

WORDS = (
    *("", " ", "-", "--", "-1", "0", "1", "7", "0.5", "1e309", "-1e309", "nan", "inf", "-inf"),
    *("9" * 18, "9" * 30, "9" * 400, "9" * 5_000, "0x" + "f" * 5_000, "1_000", "1e", "٣"),
    *("a" * 300, "a" * 5_000, "a/" * 3_000, "\u202eevil", "\x1b[31mred", "two\nlines", "\r", "💥"),
    *("\x00", "a\x00b", "\udc80", "\ufeff", "é" * 200, "%s%n%x", "{}", "{0.__class__}", "[x]"),
    *("'; DROP TABLE runs; --", "$(id)", "`id`", "../..", "..", ".", "~nobody-of-this-name/x"),
    *("2020-01-02", "2020-02-30", "0000-00-00", "0001-01-01", "9999-12-31", "2020-1-2", "now"),
    *("true", "null", "rules", "simulator", "packaged", "equity:", "multi-asset:nowhere"),
    *("/dev/null", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/cwd"),
    *("sqlite://", "sqlite:///:memory:", "sqlite:///x?timeout=x", "://", "http://", "mysql://x/y"),
    f"postgresql://user:{PASSWORD}@127.0.0.1:1/name",
    f"postgresql://user:{PASSWORD}@127.0.0.1:1/name?password={PASSWORD}&nonsense=1",
    f"postgresql://user:a@{PASSWORD}@127.0.0.1:1/name",
    f"postgresql://user:{PASSWORD}@127.0.0.1:port/name",
    f"http://user:{PASSWORD}@127.0.0.1:1/v1",
    f"http://127.0.0.1:1/v1?api_key={PASSWORD}",
)

YAML = (
    *("!!float x", "!!int x", "!!int ''", "!!bool x", "!!null [x]", "!!timestamp x", "!!set {a}"),
    *("!!binary aGk=", "!!omap [a: 1]", "!!python/object/apply:os.getcwd []", "!unknown x", "! x"),
    *(".nan", "-.inf", "1.0e+400", "1e400", "9" * 5_000, "-" + "9" * 25, "0x" + "f" * 5_000),
    *("1:2:3", "1:" * 3_000 + "1", "0b1", "010", "1_0", "=", "<<", "~", "*nothing", "&a [*a]"),
    *("2020-13-45", "2020-01-01", "[", "]", "{", "}", "{a: 1, a: 2}", "{? [a] : 1}", "{<<: 3}"),
    *(
        '"\\0"',
        '"\\ud800"',
        '"\\U00110000"',
        '"\\x"',
        '"',
        "'",
        "|",
        ">",
        "%",
        "@",
        "`",
        "#",
        "\t",
    ),
    *(
        "[" * 100_000,
        "{a: " * 300,
        "- " * 500,
        "[a, " * 31 + "b" + "]" * 31,
        "x" * 200_000,
        "!" * 99,
    ),
    "[&a [x, x], &b [*a, *a], &c [*b, *b]" + "".join(f", &d{i} [*c, *c]" for i in range(9)) + "]",
    "{"
    + ", ".join(
        f"k{i}: &k{i} [" + ", ".join([f"*k{i - 1}"] * 9 if i else ["x"]) + "]" for i in range(20)
    )
    + "}",
)

text = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=40),
    st.integers().map(str),
    st.floats().map(str),
)
yaml_value = st.one_of(
    st.sampled_from(YAML),
    st.sampled_from(YAML),
    text.map(repr),
    text,
    st.sampled_from(("1", "0.5", "true", "[]", "{}", "[a, b]", "{news: rules}", "packaged", "''")),
)


class TooSlowError(Exception):
    """Something took longer than anything may."""


@contextlib.contextmanager
def in_time(seconds: float = SECONDS) -> Iterator[None]:
    """Raise TooSlowError inside a block that takes longer."""

    def ring(*_: object) -> None:
        raise TooSlowError(f"expected an end within {seconds:g} s, was none")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
