"""YAML by strangers: plain values are read, everything else is one line."""

import time

import pytest

from config.errors import ConfigError, DataError
from config.files.yaml_text import MOST_BYTES, load_yaml, read_yaml

ALIAS_BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1\nb: [0.5, true, null, x]\n", {"a": 1, "b": [0.5, True, None, "x"]}),
        ("start: 2010-01-04", {"start": "2010-01-04"}),
        ("2020-13-45", "2020-13-45"),
        ("a: &x {k: 1}\nb: {<<: *x, k: 2}\nc: *x", {"a": {"k": 1}, "b": {"k": 2}, "c": {"k": 1}}),
        ("!!str 5", "5"),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_plain_values_are_read(text, value):
    assert load_yaml(text, "p.yaml") == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!float x", "unreadable"),
        ("a: !!int ''", "unreadable"),
        ("a: !!bool x", "unreadable"),
        ("a: !!timestamp x", "line 1"),
        ("a: !!python/object/apply:os.getcwd []", "line 1"),
        ("a: !!binary aGk=", "line 1"),
        ("a: !!set {b}", "line 1"),
        ("a: " + "9" * 5_000, "a number of 5000 characters"),
        ("a: 0x" + "f" * 5_000, "a number of 5002 characters"),
        ("a: {b: 99999999999999999999}", r"p\.yaml: a\.b: expected an integer of at most 64 bits"),
        ("a: [0, .nan]", r"p\.yaml: a\[1\]: expected a finite number, was nan"),
        ("a: -.inf", "finite number, was -inf"),
        ("a: 1.0e+400", "finite number, was inf"),
        ("a: " + "[" * 100_000, "more than 32 levels deep"),
        ("{a: " * 5_000, "more than 32 levels deep"),
        ("- " * 5_000, "more than 32 levels deep"),
        (ALIAS_BOMB, "more than 20000 values"),
        (MERGE_BOMB, "more than 20000 values"),
        ("[" + "1," * 30_000 + "]", "more than 20000 values"),
        ("a: &a [*a]", "holds itself"),
        ("a: 1\nb: 2\na: 3", "the key 'a' given twice, again in line 3"),
        ("a: {b: 1, 'b': 2}", "the key 'b' given twice"),
        ("? [a]\n: 1", "a key that is no plain value in line 1"),
        ("a: \x00", "unreadable"),
        ('a: "\\0"', "a: expected text"),
        ('a: "\\ud800"', "a: expected text"),
        ('a: "\\U00110000"', "unreadable"),
        ("a: b: c", "line 1: mapping values are not allowed here"),
        ("*nothing", "line 1: found undefined alias"),
        ("x" * (MOST_BYTES + 1), "at most 512 KiB"),
        (f"{'k' * 900}: 1\n" * 2, "given twice"),
        (f"{'k' * 900}: .nan", "expected a finite number"),
    ],
)
def test_everything_else_is_refused_at_once_in_one_line(text, words):
    start = time.monotonic()
    with pytest.raises(DataError, match=words) as refusal:
        load_yaml(text, "p.yaml", DataError)
    assert time.monotonic() - start < 10.0
    assert len(str(refusal.value)) < 300
    assert str(refusal.value).isprintable()
    assert "p.yaml" in str(refusal.value)


def test_a_text_of_the_largest_size_is_read():
    assert load_yaml("a: 1 # " + "x" * (MOST_BYTES - 10), "p.yaml") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a: \xff", "not UTF-8"), (b"#" * (MOST_BYTES + 1), "at most 512 KiB of YAML in p.yaml")],
)
def test_a_file_that_is_no_text_or_too_long_is_refused(tmp_path, content, words):
    (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_yaml(tmp_path / "p.yaml")


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"YAML in nothing\.yaml, was unreadable: No such file"):
        read_yaml(tmp_path / "nothing.yaml")
