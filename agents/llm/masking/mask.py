"""
Hides who and when from a model, so that it cannot remember what came next.

Companies of the universe become "Company K73", people that were given "Person 1", other handles
"@someone", dates distances from the decision or "(date)". The same text under the same salt
gives the same result. Text is cleaned first, so that a name split by invisible characters is
found. Not hidden: products and brands, companies outside the universe, lone months, and the
numbers themselves. Tickers that are words (ALL, ON) are found as cashtags, in parentheses, after
an exchange's name, and in capitals in news of their own instrument.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from agents.llm.masking.dates import hide_dates
from agents.llm.prompts.quoting import clean

READ = 4_000  # characters of a text that are looked at; prompts show far fewer
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"  # no I, O: digits to the eye; no Q: quarters
NUMBERS = 990  # 10..999

# tickers and names that a text may mean as words: bare ones count only as the module says
_WORDS = """
a aa all alphabet am an any are as at be big bit block blue by c can car care case cash cat
coke cost d day do dow ease eat fast fix fly for free fun gap go gold good grow has have he
hear her home i ice if ill in info intel it key kids kind land life live loan love low m man me
met meta mind mo more most next nice no now o oh oil old on one open or oracle out pay peak
pick plan play plus post pro real rex road run safe save say sea see she shell so sow spot
square star sun t tap target team tell the this to top travelers trip true turn two u up us v
visa wait wash we well what will wish wolf work x y you z
"""
WORDS = frozenset(_WORDS.split())
FORMS = (
    r"(?:,?\s(?:incorporated|inc|corporation|corp|company|co|limited|ltd|plc|llc|ag|sa|nv|se)"
    r"\b\.?)"
)
EXCHANGES = r"(?:nyse|nasdaq|amex|arca|nysearca|lse|lon|tsx|tse|otc|otcmkts|asx|hkex|xnys|xnas)"
EDGE, END = r"(?<![^\W_])", r"(?![^\W_])"
SHORT = 3  # a tag that merely contains so short a name is not about it


class Mask:
    """
    Hides a universe's names; made once a run.

    `names` and `people` are by symbol, and may list more symbols than are traded: only those of
    `symbols` are hidden.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        names: Mapping[str, Sequence[str]],
        people: Mapping[str, Sequence[str]],
        salt: str,
    ) -> None:
        universe = sorted(set(symbols))
        self._codes = _codes(universe, salt)
        self._tickers = {_folded(s): s for s in universe}
        for symbol in universe:  # BRK-B is also written BRK.B
            self._tickers.setdefault(_folded(symbol).replace("-", "."), symbol)
        self._names: dict[str, str] = {}
        for symbol in universe:
            for name in names.get(symbol, ()):
                if _squashed(name):
                    self._names.setdefault(_squashed(name), symbol)
        self._people: dict[str, str] = {}
        surnames: dict[str, str] = {}
        for symbol in universe:
            for name in filter(_squashed, people.get(symbol, ())):
                known = len(set(self._people.values()))
                code = self._people.setdefault(_squashed(name), f"Person {known + 1}")
                surnames.setdefault(_squashed(name.split()[-1]), code)
        self._surnames = {k: v for k, v in surnames.items() if k not in self._people}
        shown = [n for s in universe for n in names.get(s, ())]
        persons = [n for s in universe for n in people.get(s, ())]
        self._found = _pattern(self._tickers, shown, persons)

    def symbol(self, symbol: str) -> str:
        """Return an instrument's code, such as "Company K73"."""
        return self._codes[symbol]

    def text(self, text: str, symbol: str | None = None, now_ns: int | None = None) -> str:
        """
        Return one line of `text`, cleaned, without names and dates.

        `symbol` is the instrument that it is about; dates are told from `now_ns`, the case's
        stamp, and are "(date)" without it.
        """
        cleaned = clean(text, READ)
        hidden = self._found.sub(lambda match: self._told(match, symbol), cleaned)
        return hide_dates(hidden, now_ns)

    def _told(self, match: re.Match[str], symbol: str | None) -> str:
        kind, found = match.lastgroup, match.group()
        if kind == "tag":
            return self._tag(found)
        if kind == "person":
            return self._people[_squashed(found)]
        if kind == "surname":
            return self._surnames[_squashed(found)] if found[0].isupper() else found
        if kind == "name":
            bare = re.sub(f"{FORMS}$", "", found, flags=re.IGNORECASE)
            whole = _squashed(found) in self._names
            owner = self._names[_squashed(found if whole else bare)]
            if bare.casefold() in WORDS and not found[0].isupper():
                return found
            return self._codes[owner]
        owner = self._tickers[_folded(match["symbol" if kind == "listed" else "ticker"])]
        if kind == "ticker":
            word = found.casefold() in WORDS
            if word and not (owner == symbol and len(found) > 1 and found.isupper()):
                return found
            if len(found) < SHORT and not found.isupper():
                return found
        return self._codes[owner]

    def _tag(self, found: str) -> str:
        """Return a cashtag, hashtag or handle: of the universe, of a person, or somebody's."""
        tag = _folded(found[1:])
        squashed = _squashed(tag)
        if tag in self._tickers:
            return self._codes[self._tickers[tag]]
        if squashed in self._people:
            return self._people[squashed]
        if found[0] == "$":
            return found
        parts = set(re.split(r"[_.]", tag))
        for known, code in self._tagged():
            if known in parts or (len(known) > SHORT and known in squashed):
                return code
        return "@someone" if found[0] == "@" else found

    def _tagged(self) -> Iterable[tuple[str, str]]:
        """Yield what a tag may hold, with its code; the longest first."""
        known = {n: self._codes[s] for n, s in (self._tickers | self._names).items()}
        return sorted((known | self._people).items(), key=lambda kv: (-len(kv[0]), kv[0]))


def _codes(universe: Sequence[str], salt: str) -> dict[str, str]:
    """Return a code for each symbol: from its own hash, and moved on where two would meet."""
    if len(universe) > len(LETTERS) * NUMBERS // 2:
        raise ValueError(f"expected a universe that codes tell apart, was {len(universe)} symbols")
    codes: dict[str, str] = {}
    taken: set[int] = set()
    for symbol in universe:
        digest = hashlib.sha256(f"{salt}\x1f{symbol}".encode()).digest()
        value = int.from_bytes(digest[:8]) % (len(LETTERS) * NUMBERS)
        while value in taken:
            value = (value + 1) % (len(LETTERS) * NUMBERS)
        taken.add(value)
        codes[symbol] = f"Company {LETTERS[value % len(LETTERS)]}{10 + value // len(LETTERS)}"
    return codes


def _pattern(
    tickers: Iterable[str], names: Iterable[str], people: Sequence[str]
) -> re.Pattern[str]:
    """Return what finds a name of any kind, the longest first, whatever its case."""
    any_ticker = _any(re.escape(t) for t in tickers)
    surnames = [name.split()[-1] for name in people if len(name.split()) > 1]
    return re.compile(
        "|".join(
            (
                r"(?P<tag>[$#@](?=[^\W\d])[\w]+(?:[.-][A-Za-z]\b)?)",
                rf"(?P<listed>(?:{EDGE}{EXCHANGES}\s?:\s?|(?<=\())"
                rf"(?P<symbol>{any_ticker}){END})",
                rf"(?P<person>{EDGE}{_any(map(_spelt, people))}{END})",
                rf"(?P<name>{EDGE}{_any(map(_spelt, names))}{END}{FORMS}?)",
                rf"(?P<surname>{EDGE}{_any(map(_spelt, surnames))}{END})",
                rf"(?P<ticker>{EDGE}{any_ticker}{END})",
            )
        ),
        re.IGNORECASE,
    )


def _any(patterns: Iterable[str]) -> str:
    kept = sorted(set(filter(None, patterns)), key=lambda p: (-len(p), p))
    return f"(?:{'|'.join(kept)})" if kept else "(?!)"


def _spelt(name: str) -> str:
    """Return a pattern for a name however it is spaced, hyphenated or apostrophised."""
    parts = []
    for part in re.findall(r"[^\W_]+|['’]|&|[\s_-]+|.", clean(name, READ)):
        if part in "'’":
            parts.append("['’]?")
        elif part == "&":
            parts.append(r"\s*(?:&amp;|&|and)\s*")
        elif not part.strip(" _-"):
            parts.append(r"[\s_-]*")
        elif part == ".":
            parts.append(r"\.?\s*")
        else:
            parts.append(re.escape(part))
    return "".join(parts).removesuffix(r"\s*")


def _squashed(name: str) -> str:
    """Return a name's letters and digits alone: what its spellings have in common."""
    spelt = _folded(clean(name, READ)).replace("&amp;", "and").replace("&", "and")
    return re.sub(r"[\W_]+", "", spelt)


def _folded(text: str) -> str:
    """Return the text without case, and Turkish i's as i: so do patterns that ignore case."""
    return text.replace("\u0131", "i").casefold().replace("\u0307", "")
