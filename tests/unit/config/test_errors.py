"""Messages: one line, printable, short, without the passwords of URLs."""

import pickle

import pytest

from config.errors import (
    MOST_MESSAGE,
    ConfigError,
    OrderFailed,
    cut,
    masked,
    one_line,
    printable,
    shown,
)


@pytest.mark.parametrize("kind", [ConfigError, OrderFailed])
def test_an_errors_message_is_one_short_printable_line(kind):
    error = kind("expected a\nname, was " + "\u202e\x1b[2J" * 5_000 + " (see --help)")
    line = str(error)
    assert line.startswith("expected a name, was \\u202e\\x1b[2J")
    assert line.endswith(" (see --help)")
    assert len(line) == MOST_MESSAGE
    assert line.isprintable()
    assert "…" in line
    assert str(pickle.loads(pickle.dumps(error))) == line  # as a child process sends it


def test_a_message_that_is_short_stays_as_it_was():
    assert str(ConfigError("expected 3 %, was 'ü…'")) == "expected 3 %, was 'ü…'"
    assert str(ConfigError()) == ""


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("at http://me:hunter2@host/v1 now", "at http://***@host/v1 now"),
        ("postgresql+psycopg://me:a@hunter2@host/x", "postgresql+psycopg://***@host/x"),
        ("postgresql://me:a/hunter2@host/x", "postgresql://***@host/x"),
        ("http://h/v1?api_key=hunter2&x=1", "http://h/v1?api_key=***&x=1"),
        ("http://h/v1?x=1&password=hunter2'", "http://h/v1?x=1&password=***'"),
        ("http://h/?access_token=hunter2", "http://h/?access_token=***"),
        ("no folder postgresql:/me:hunter2@host/x", "no folder postgresql:/***@host/x"),
        ("http://h/v1?timeout=3", "http://h/v1?timeout=3"),
        ("someone@host // no URL", "someone@host // no URL"),
    ],
)
def test_a_url_is_shown_without_its_password(text, without):
    assert masked(text) == without
    assert str(ConfigError(text)) == without
    assert one_line(ValueError(text)) == without


def test_a_value_is_cut_in_its_middle():
    assert shown("a\nb") == "'a\\nb'"
    assert shown({"url": "http://me:hunter2@h"}) == "{'url': 'http://***@h'}"
    long = shown("x" * 500 + "end")
    assert len(long) == 80
    assert long.startswith("'xxx")
    assert long.endswith("end'")
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abc…fg"


def test_half_of_a_surrogate_pair_is_printable():
    assert printable("a\udc80b") == "a\\udc80b"
