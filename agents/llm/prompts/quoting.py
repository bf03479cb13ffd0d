"""
Shows text from outside as data: cleaned, cut, and between marks that it cannot close.

`clean` leaves one line of visible text that no tokenizer reads a special token from; `quote`
puts it between « and ». What opens or closes anything for a machine is broken by spaces (`<|`,
`[INST]`), so that people still read what was written. It does not judge what a text says: an
instruction stays an instruction, in marks, and the gate is what bounds a fooled model.
"""

import re
import unicodedata

OPENING, CLOSING = "«", "»"
CUT = "…"
SLACK = 4  # characters looked at per character kept; what lies beyond is never read

# what no reader sees, though no category says so: fillers, joiners, selectors, the blank braille
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0000-\U000e0fff]"
)
HIDDEN = ("Cc", "Cf", "Cn", "Co", "Cs")  # control, format, unassigned, private, surrogate
SINGLE_MARKS = dict.fromkeys("‹›〈〉⟨⟩❬❭❮❯❰❱⦑⦒⧼⧽˂˃ᐸᐳ", "'")
DOUBLE_MARKS = dict.fromkeys(OPENING + CLOSING + "《》⟪⟫≪≫⋘⋙⪡⪢⟦⟧〚〛⦗⦘", '"')
LOOK_ALIKES = str.maketrans(SINGLE_MARKS | DOUBLE_MARKS)

DOTS = re.compile(r"\.{3,}")  # NFKC turns an ellipsis into dots
FLOOD = re.compile(r"([^\w\s])\1{2,}")  # ###, ```, ---, a row of rockets, stacked accents
OPENS = re.compile(r"([<\[])(?=\S)")
CLOSES = re.compile(r"(?<=\S)([>\]])")
LOOSE_END = " .<[" + CUT  # what the cut's mark would touch or lengthen


def clean(text: str, limit: int) -> str:
    """
    Return one visible line of `text`, at most `limit` characters, its cut marked by "…".

    NFKC-normalised, so that full-width forms are what they look like; without control, format,
    private and unassigned characters, variation selectors and tags; white space is one space.
    A special token of any chat template is broken: none holds a space after its bracket.
    Only the first SLACK * limit characters are read. Cleaning a cleaned text changes nothing.
    Raises ValueError if limit < 1.
    """
    if limit < 1:
        raise ValueError(f"expected a limit of at least 1, was {limit}")
    seen = text[: SLACK * limit]
    while (once := _settle(seen)) != seen:
        seen = once
    if len(seen) > limit or len(text) > SLACK * limit:
        seen = seen[: limit - 1].rstrip(LOOSE_END) + CUT
    return seen


def quote(text: str, limit: int) -> str:
    """Return the cleaned text between « and »: marks that no cleaned text holds."""
    return f"{OPENING} {clean(text, limit)} {CLOSING}"


def _settle(text: str) -> str:
    """Return the text after one pass; a pass can make neighbours that the next one joins."""
    hidden: dict[str, str | int | None] = {
        c: " " if c.isspace() else "" for c in set(text) if unicodedata.category(c) in HIDDEN
    }
    text = INVISIBLE.sub("", text.translate(str.maketrans(hidden)))
    text = unicodedata.normalize("NFKC", text).translate(LOOK_ALIKES)
    text = FLOOD.sub(r"\1\1", DOTS.sub(CUT, text))
    text = CLOSES.sub(r" \1", OPENS.sub(r"\1 ", text))
    return " ".join(text.split())
