"""
The subset of JSON Schema that binds answers: whether a text satisfies it, and how long it can be.

The `jsonschema` library validates; the subset and the longest answer are ours. An object has its
listed properties and no others; strings, arrays and numbers may be bounded. A string's pattern is
one class repeated, `^[class]{m,n}$`. Any other keyword is an error and never ignored: a bound that
nobody checks is no bound. What is said of a wrong answer names the place and what was expected,
and repeats no word of the answer, which may repeat a prompt. This file knows no engine.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from config.errors import ConfigError

if TYPE_CHECKING:  # it takes a tenth of a second to import
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

type Schema = dict[str, Any]

KEYWORDS = frozenset(
    {"type", "enum", "anyOf", "title", "description"}
    | {"properties", "required", "additionalProperties"}
    | {"items", "minItems", "maxItems"}
    | {"minLength", "maxLength", "pattern"}
    | {"minimum", "maximum"}
)
TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
REPEATED_CLASS = re.compile(r"\^(\[(?:[^\]\\]|\\.)+\])\{(\d+),(\d+)\}\$")
LONGEST_ESCAPE = 12  # characters: one code point beyond the basic plane as two \uXXXX
SEPARATOR = 2  # ", " and ": ": some engines write a space, and one token may be one character


def violation(schema: Schema, text: str) -> str | None:
    """
    Return how a text breaks a schema, on one line; None where it satisfies it.

    JSON is read strictly: no NaN or infinity, no number that overflows, no name given twice.
    Raises ConfigError where the schema is outside the subset.
    """
    _check(schema, "$")
    if not text.strip():
        return "expected JSON, was empty text"
    try:
        value = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_distinct
        )
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError):
        return f"expected JSON, was {len(text)} characters that are not"
    error = next(_validator()(schema).iter_errors(value), None)
    return None if error is None else _said(error)


def longest_answer(schema: Schema) -> int:
    """
    Return an upper bound, in characters, of the longest one-line JSON that satisfies a schema.

    A token holds at least one character of ASCII, so that this many tokens hold any answer.
    Raises ConfigError where something is unbounded or outside the subset.
    """
    _check(schema, "$")
    return _longest(schema, "$")


# --- reading -----------------------------------------------------------------------------------


def _check(schema: Schema, path: str) -> None:
    """Raise ConfigError at the first thing that this subset does not hold."""
    if not isinstance(schema, dict):
        raise ConfigError(f"expected a JSON Schema object at {path}, was another value")
    unknown = sorted(schema.keys() - KEYWORDS)
    if unknown:
        raise ConfigError(f"expected the known JSON Schema keywords at {path}, was {unknown[0]}")
    if "type" in schema and schema["type"] not in TYPES:
        raise ConfigError(f"expected one known type at {path}, was {schema['type']!r}")
    if "pattern" in schema:
        _repeated(schema["pattern"], path)
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise ConfigError(f"expected additionalProperties false at {path}, was open")
    for name, part in schema.get("properties", {}).items():
        _check(part, f"{path}.{name}")
    for part in schema.get("anyOf", ()):
        _check(part, path)
    if "items" in schema:
        _check(schema["items"], f"{path}[]")


def _repeated(pattern: str, path: str) -> tuple[str, int, int]:
    """Return a pattern's class, and how few and how many characters of it there may be."""
    match = REPEATED_CLASS.fullmatch(pattern)
    if match is None:
        raise ConfigError(f"expected a pattern like ^[a-z]{{0,9}}$ at {path}, was {pattern!r}")
    return match[1], int(match[2]), int(match[3])


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"expected JSON, was {name}")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("expected a number within range, was an overflow")
    return number


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("expected each name once, was a repeat")
    return names


# --- checking ----------------------------------------------------------------------------------


@cache
def _validator() -> type[Validator]:
    """
    Return JSON Schema's Draft 2020-12 as answers are held to it.

    An integer has no decimal point, and a pattern is matched whole: Python's `$` lets a line's
    end through.
    """
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(_: Validator, expected: str, value: Any, __: Schema) -> Iterator[ValidationError]:
        if isinstance(value, str) and re.fullmatch(expected, value) is None:
            yield ValidationError("another text")

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, v: type(v) is int)
    ours: type[Validator] = validators.extend(
        Draft202012Validator, {"pattern": pattern}, type_checker=types
    )
    return ours


def _said(error: ValidationError) -> str:
    """Return what was expected, and where; the answer's own words are left out."""
    keyword, bound, path = error.validator, error.validator_value, error.json_path
    if keyword == "required":
        missing = next(name for name in bound if name not in error.instance)
        return f"expected {missing} at {path}, was missing"
    if keyword == "additionalProperties":
        return f"expected no other fields at {path}, was more"
    if keyword in ("enum", "anyOf"):
        return f"expected one of {len(bound)} at {path}, was none of them"
    return f"expected {keyword} {bound} at {path}, was another value"


# --- measuring ---------------------------------------------------------------------------------


def _longest(schema: Schema, path: str) -> int:
    if "enum" in schema:
        return max(len(json.dumps(option)) for option in schema["enum"])
    if "anyOf" in schema:
        return max(_longest(option, path) for option in schema["anyOf"])
    match schema.get("type"):
        case "object":
            fields = [
                len(json.dumps(name)) + SEPARATOR + _longest(part, f"{path}.{name}")
                for name, part in schema.get("properties", {}).items()
            ]
            return 2 + sum(fields) + SEPARATOR * max(len(fields) - 1, 0)
        case "array" if "maxItems" in schema and (schema["maxItems"] == 0 or "items" in schema):
            n = int(schema["maxItems"])
            each = _longest(schema["items"], f"{path}[]") if n else 0
            return 2 + n * each + SEPARATOR * max(n - 1, 0)
        case "string" if "pattern" in schema:
            characters, _, high = _repeated(schema["pattern"], path)
            return 2 + min(high, int(schema.get("maxLength", high))) * _widest(characters)
        case "string" if "maxLength" in schema:
            return 2 + LONGEST_ESCAPE * int(schema["maxLength"])
        case "integer" if {"minimum", "maximum"} <= schema.keys():
            return max(len(str(schema["minimum"])), len(str(schema["maximum"])))
        case "boolean":
            return len("false")
        case "null":
            return len("null")
    raise ConfigError(f"expected a bound on {schema.get('type', 'any value')} at {path}, was none")


def _widest(characters: str) -> int:
    """Return the most characters of JSON that one character of a class may take."""
    if not characters.isascii() or characters.startswith("[^") or re.search(r"\\\w", characters):
        return LONGEST_ESCAPE  # may hold anything: not worth enumerating
    ascii_ = (chr(code) for code in range(128))
    return max(len(json.dumps(c)) - 2 for c in ascii_ if re.fullmatch(characters, c))
