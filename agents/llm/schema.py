"""
The subset of JSON Schema that binds answers: whether a text satisfies it, and how long it can be.

An object has its listed properties and no others; strings, arrays and numbers may be bounded. A
string's pattern is one class repeated, `^[class]{m,n}$`. Any other keyword is an error and never
ignored: a bound that nobody checks is no bound. What is said of a wrong answer names the place
and what was expected, and repeats no word of the answer, which may repeat a prompt. It knows no
engine.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from config.errors import ConfigError

type Schema = dict[str, Any]

KEYWORDS = frozenset(
    {"type", "enum", "anyOf", "title", "description"}
    | {"properties", "required", "additionalProperties"}
    | {"items", "minItems", "maxItems"}
    | {"minLength", "maxLength", "pattern"}
    | {"minimum", "maximum"}
)
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": type(None),
}
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
    except (ValueError, RecursionError):
        return f"expected JSON, was {len(text)} characters that are not"
    return _violation(schema, value, "$")


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


def _violation(schema: Schema, value: Any, path: str) -> str | None:
    if "anyOf" in schema:
        options = schema["anyOf"]
        if all(_violation(option, value, path) is not None for option in options):
            return f"expected one of {len(options)} forms at {path}, was none of them"
    kind = schema.get("type")
    if kind is not None and not _is_a(value, kind):
        return f"expected {kind} at {path}, was {_kind(value)}"
    if "enum" in schema and not any(_same(value, option) for option in schema["enum"]):
        return f"expected one of {len(schema['enum'])} values at {path}, was another"
    if isinstance(value, dict):
        return _object_violation(schema, value, path)
    if isinstance(value, list):
        return _array_violation(schema, value, path)
    if isinstance(value, str):
        return _string_violation(schema, value, path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        if not low <= value <= high:
            return f"expected {low} to {high} at {path}, was {'less' if value < low else 'more'}"
    return None


def _object_violation(schema: Schema, value: dict[str, Any], path: str) -> str | None:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return f"expected {name} at {path}, was missing"
    extra = len(value.keys() - properties.keys())
    if extra:
        return f"expected no other fields at {path}, was {extra} more"
    found = (_violation(properties[name], value[name], f"{path}.{name}") for name in value)
    return next((wrong for wrong in found if wrong is not None), None)


def _array_violation(schema: Schema, value: list[Any], path: str) -> str | None:
    wrong = _count(len(value), schema.get("minItems"), schema.get("maxItems"), "items", path)
    if wrong is not None or "items" not in schema:
        return wrong
    found = (_violation(schema["items"], item, f"{path}[{i}]") for i, item in enumerate(value))
    return next((wrong for wrong in found if wrong is not None), None)


def _string_violation(schema: Schema, value: str, path: str) -> str | None:
    if any("\ud800" <= c <= "\udfff" for c in value):
        return f"expected Unicode text at {path}, was half of a surrogate pair"
    low, high = schema.get("minLength"), schema.get("maxLength")
    wrong = _count(len(value), low, high, "characters", path)
    if wrong is not None or "pattern" not in schema:
        return wrong
    characters, low, high = _repeated(schema["pattern"], path)
    wrong = _count(len(value), low, high, "characters", path)
    if wrong is None and re.fullmatch(f"{characters}*", value) is None:
        return f"expected only {characters} at {path}, was another character"
    return wrong


def _count(n: int, low: int | None, high: int | None, what: str, path: str) -> str | None:
    if low is not None and n < low:
        return f"expected at least {low} {what} at {path}, was {n}"
    if high is not None and n > high:
        return f"expected at most {high} {what} at {path}, was {n}"
    return None


def _is_a(value: Any, kind: str) -> bool:
    if kind == "number":
        return type(value) in (int, float)
    return type(value) is TYPES[kind]


def _kind(value: Any) -> str:
    return next(name for name, kind in TYPES.items() if type(value) is kind)


def _same(value: Any, option: Any) -> bool:
    return bool(value == option) and isinstance(value, bool) == isinstance(option, bool)


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
