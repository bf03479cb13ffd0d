"""What of a text survives masking, and what must not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.llm.masking.company_names import COMPANY_NAMES
from agents.llm.masking.mask import WORDS, Mask

NOW = 1_610_000_000_000_000_000  # 2021-01-07
DAY = 86_400_000_000_000
NAMES = COMPANY_NAMES | {"ALL": ("Allstate",)}
PEOPLE = {"AAPL": ("Tim Cook", "Luca Maestri"), "MSFT": ("Satya Nadella",)}
SYMBOLS = ("A", "AAPL", "ALL", "BRK-B", "IBM", "JNJ", "MCD", "MSFT")
MASK = Mask(SYMBOLS, NAMES, PEOPLE, salt="7")
APPLE, ALLSTATE, JOHNSON = (MASK.symbol(s) for s in ("AAPL", "ALL", "JNJ"))
GIVEN = [n for s in SYMBOLS for n in (*NAMES.get(s, ()), *PEOPLE.get(s, ()))]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Apple Inc. beats", f"{APPLE} beats"),
        ("Apple, Inc.'s profit", f"{APPLE}'s profit"),
        ("$AAPL $aapl #Apple #AppleNews @AppleSupport", " ".join([APPLE] * 5)),
        ("aapl, AAPL; apple.com", f"{APPLE}, {APPLE}; {APPLE}.com"),
        ("App\u200ble and \uff21pple", f"{APPLE} and {APPLE}"),
        ("apple_inc", f"{APPLE}_inc"),
        ("Johnson &amp; Johnson, J&J", f"{JOHNSON}, {JOHNSON}"),
        ("Tim Cook, TIM COOK; Cook said: cook", "Person 1, Person 1; Person 1 said: cook"),
        ("@timcook to @somebody_else", "Person 1 to @someone"),
        ("(NYSE: ALL) gains; (ALL) too", f"({ALLSTATE}) gains; ({ALLSTATE}) too"),
        ("$ALL for ALL on A day", f"{ALLSTATE} for ALL on A day"),
        ("pineapple snapple", "pineapple snapple"),
    ],
)
def test_a_text_is_masked(text, said):
    assert MASK.text(text) == said


def test_a_ticker_that_is_a_word_is_found_in_its_own_news():
    assert MASK.text("ALL beats at all costs", "ALL") == f"{ALLSTATE} beats at all costs"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("on 2021-01-05", "on 2 days ago"),
        ("on 1/6/2021", "on yesterday"),
        ("January 8", "tomorrow"),
        ("5 May 2020", "8 months ago"),
        ("Dec 31", "7 days ago"),
        ("Jan. 2021", "this month"),
        ("Q3 2020", "2 quarters ago"),
        ("3Q20 and Q3", "2 quarters ago and (quarter)"),
        ("third quarter of fiscal 2020", "2 quarters ago"),
        ("FY2019", "2 years ago"),
        ("since 2020", "since last year"),
        ("31/02/2021", "(date)"),
        ("2000 cars for $2020 on Monday", "2000 cars for $2020 on Monday"),
    ],
)
def test_a_date_becomes_its_distance(text, said):
    assert MASK.text(text, now_ns=NOW) == said


def test_without_a_stamp_a_date_is_a_date():
    assert MASK.text("2021-01-05 or Jan. 2021 or 2021") == "(date) or (date) or (date)"


@given(
    st.lists(
        st.one_of(
            st.sampled_from(GIVEN),
            st.sampled_from(GIVEN).map(str.upper),
            st.sampled_from(["$AAPL", "#IBM", "@msft", "(A)", "Inc", "’s", "ı", "\u0130", "."]),
            st.text(max_size=3),
        ),
        max_size=8,
    )
)
def test_no_given_name_is_left_whatever_stands_around_it(parts):
    masked = MASK.text(" ".join(parts)).casefold()

    for name in GIVEN:
        if name.casefold() not in WORDS:
            edge = rf"(?<![^\W_]){re.escape(name.casefold())}(?![^\W_])"
            assert re.search(edge, masked) is None


@given(st.sampled_from(GIVEN), st.integers(0, 20), st.sampled_from("\u0131\u0130\u017f\u212aß"))
def test_a_letter_that_only_looks_like_one_does_no_harm(name, at, letter):
    MASK.text(name[:at] + letter + name[at + 1 :])


def test_same_salt_same_text_and_another_salt_other_codes():
    again = Mask(tuple(reversed(SYMBOLS)), NAMES, PEOPLE, salt="7")
    other = Mask(SYMBOLS, NAMES, PEOPLE, salt="8")

    assert again.text("Apple and Microsoft") == MASK.text("Apple and Microsoft")
    assert other.symbol("AAPL") != APPLE


def test_codes_tell_a_large_universe_apart():
    symbols = [f"S{i}" for i in range(3000)]
    mask = Mask(symbols, {}, {}, salt="0")

    assert len({mask.symbol(s) for s in symbols}) == 3000


def test_the_table_names_the_packaged_sets():
    assert {"AAPL", "GOOG", "IBM", "MSFT"} <= COMPANY_NAMES.keys()
