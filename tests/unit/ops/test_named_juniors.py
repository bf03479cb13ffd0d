"""A junior of one's own: how it is named, what it decides, and what is said of a wrong one."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from agents.llm.chat import ChatRequest, Completion, Failure, ModelIdentity, Role
from agents.messages import Abstention, Decision, Opinion
from backtest.engine.book_spec import BookSpec
from backtest.engine.run_book import run_book
from backtest.plan import plan_run
from backtest.report.notes import minds_note
from config.errors import ConfigError
from config.settings import (
    SHIPPED_JUNIORS,
    DeskSettings,
    LimitSettings,
    MindSettings,
    Settings,
)
from ops.composition.model_minds import build_mind
from ops.composition.named_juniors import load_juniors
from tests.conftest import session

PAGE = Path(__file__).parents[3] / "docs" / "agents.md"
CODE = re.search(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)[1]


@pytest.fixture
def own(tmp_path):
    """Return a writer of a junior's file; without changes it is the documented one."""

    def write(name: str = "contrarian.py", changes: dict[str, str] | None = None) -> str:
        code = CODE
        for old, new in (changes or {}).items():
            assert old in code
            code = code.replace(old, new)
        (tmp_path / name).write_text(code)
        return f"{tmp_path / name}:Contrarian"

    return write


def settings(*juniors: str) -> Settings:
    return Settings(
        minds=MindSettings(juniors=juniors),
        limits=LimitSettings(min_history=20),
        desk=DeskSettings(panel_sessions=25),
    )


def test_the_documented_junior_decides_in_a_backtest(own, make_market):
    market, chosen = make_market(sessions=70), settings(own())
    mind = build_mind(chosen)
    decisions = run_book(BookSpec("own", market, chosen, session(60)[1]), mind).records.of(
        Decision
    )
    opinions = [o for d in decisions for o in d.opinions]
    by_model = {o.model for o in opinions if o.junior == "technical"}
    assert by_model == {"contrarian-1"}
    assert {o.model for o in opinions if o.junior == "news"} == {"rules/news-2"}
    fades = [o for o in opinions if o.junior == "technical"]
    assert all(("+" in o.rationale) == (o.score < 0) for o in fades)
    assert {p.symbol for d in decisions for p in d.proposals}


def test_a_place_that_is_not_taken_keeps_the_junior_that_ships(own):
    found = load_juniors([own()])
    assert [j.model for j in found.juniors.values()] == [
        "rules/news-2",
        "contrarian-1",
        "rules/fundamental-1",
    ]
    assert load_juniors(SHIPPED_JUNIORS).described == {}


def test_other_code_is_another_run(own, make_market):
    def run_id(*names: str) -> str:
        chosen = settings(*names)
        return plan_run(
            make_market(sessions=70), chosen, build_mind(chosen), "fresh", session(60)[1]
        ).run_id

    shipped = run_id(*SHIPPED_JUNIORS)
    first, same = run_id(own()), run_id(own("elsewhere.py"))
    other = run_id(own("other.py", {"USUAL = 0.03": "USUAL = 0.04"}))
    assert first == same
    assert len({shipped, first, other}) == 3
    assert shipped == run_id()


def test_an_edited_file_runs_its_new_code_under_its_new_hash(own):
    first = load_juniors([own()])
    edited = load_juniors([own(changes={"USUAL = 0.03": "USUAL = 0.04"})])
    usual = [
        sys.modules[type(found.juniors["technical"]).__module__].USUAL for found in (first, edited)
    ]
    assert usual == [0.03, 0.04]
    assert first.described != edited.described
    assert load_juniors([own()]).described == first.described


def test_an_installed_junior_is_named_by_its_module_or_its_entry_point(own, tmp_path, monkeypatch):
    own("fading.py")
    folder = tmp_path / "fading-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: fading\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[quarterdeck.juniors]\nfade = fading:Contrarian\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    by_module, by_entry = load_juniors(["fading:Contrarian"]), load_juniors(["fade"])
    assert by_module.described == by_entry.described
    assert by_module.described["technical"].startswith("contrarian-1 Contrarian@")


@pytest.mark.parametrize(
    ("changes", "name", "message"),
    [
        ({}, "gone.py:Contrarian", "expected a Python file at gone.py, was none"),
        ({}, "contrarian", "expected path/to/file.py:Class, package.module:Class or an entry"),
        ({}, "agents.nowhere:Junior", "expected agents.nowhere to be imported, was ModuleNot"),
        ({}, "agents.messages:Case", "expected a class derived from agents.protocols.Junior"),
        ({"class Contrarian": "class Other"}, None, "expected a class Contrarian in"),
        ({"def opine": "def think"}, None, "expected a class that defines opine"),
        ({'"technical"': '"astrology"'}, None, "`name` to be one of news, technical, fundamental"),
        ({'    model = "contrarian-1"\n': ""}, None, "expected `model` to be text"),
        ({"WEEK = ": "WEEK = 1 / 0  # "}, None, "to be imported, was ZeroDivisionError"),
        ({"WEEK = ": "raise SystemExit(3)  # "}, None, "to be imported, was SystemExit: 3"),
    ],
)
def test_a_wrong_junior_is_refused_with_one_line(own, changes, name, message):
    written = own(changes=changes)
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        load_juniors([name or written])
    assert "\n" not in str(refused.value)


def test_two_juniors_for_one_place_are_refused(own):
    with pytest.raises(ConfigError, match="expected one junior for technical"):
        load_juniors([own(), own("second.py")])


@pytest.mark.parametrize(
    "changes",
    [
        {"for symbol in symbols]": "for symbol in symbols[1:]]"},
        {"for symbol in symbols]": "for symbol in reversed(symbols)]"},
        {"return form_opinion(": "return odd("},
    ],
)
def test_answers_that_were_not_asked_for_end_the_run(own, changes, make_market):
    changes = {
        **changes,
        "WEEK = ": (
            "def odd(*a, **k):\n"
            "    import msgspec\n"
            "    return msgspec.structs.replace(form_opinion(*a, **k), score=9.0)\n\n\n"
            "WEEK = "
        ),
    }
    chosen = settings(own(changes=changes))
    spec = BookSpec("own", make_market(sessions=65), chosen, session(60)[1])
    with pytest.raises(ConfigError, match=r"minds\.juniors: contrarian-1: expected"):
        run_book(spec, build_mind(chosen))


@pytest.mark.parametrize(
    ("body", "was"),
    [
        ("raise KeyError('boom')", "was KeyError: 'boom'"),
        ("raise ValueError('one\\ntwo')", "was ValueError: one two"),
        ("raise SystemExit(3)", "was SystemExit: 3"),
        ("return None", "was TypeError: "),
        ("return [None for symbol in symbols]", "was NoneType"),
        ("return ['up' for symbol in symbols]", "was str"),
        ("yield KeyError['boom']", "was TypeError: "),
    ],
)
def test_a_junior_that_fails_ends_the_run_with_one_line(own, body, was, make_market):
    chosen = settings(own(changes={"moves = {": f"{body}\n        moves = {{"}))
    spec = BookSpec("own", make_market(sessions=65), chosen, session(60)[1])
    with pytest.raises(ConfigError, match=re.escape(was)) as refused:
        run_book(spec, build_mind(chosen))
    assert str(refused.value).startswith("minds.juniors: contrarian-1: expected ")
    assert "\n" not in str(refused.value)


def test_a_junior_that_answers_one_by_one_is_heard(own, make_market):
    market = make_market(sessions=65)

    def opinions(name: str) -> list[Opinion]:
        chosen = settings(name)
        result = run_book(BookSpec("own", market, chosen, session(60)[1]), build_mind(chosen))
        return [o for d in result.records.of(Decision) for o in d.opinions]

    lazy = {"return [self": "return (self", "for symbol in symbols]": "for symbol in symbols)"}
    heard = opinions(own("lazy.py", lazy))
    assert heard == opinions(own())
    assert "contrarian-1" in {o.model for o in heard}


def test_an_opinion_and_an_abstention_are_stored_as_any_other(own, make_market):
    chosen = settings(own())
    spec = BookSpec("own", make_market(sessions=65), chosen, session(60)[1])
    decision = run_book(spec, build_mind(chosen)).records.of(Decision)[0]
    again = msgspec.json.decode(msgspec.json.encode(decision), type=Decision)
    assert again == decision
    assert {type(a) for a in (*decision.opinions, *decision.abstentions)} <= {Opinion, Abstention}


RULES_NOTE = "minds: rules, rule-backed; no trained model"
UNTRAINED_NOTE = (
    "minds: embedded; UNTRAINED language models (fundamental, news, strategist, technical): "
    "no adapter, so their opinions bind to the schema and mean nothing yet"
)


class _Served:
    """A model that is named and never asked; `adapter` is what was trained for its roles."""

    def __init__(self, adapter: str) -> None:
        self._adapter = adapter

    def identity(self, role: Role) -> ModelIdentity:
        return ModelIdentity(
            model="tiny",
            weights="ab" * 32,
            engine="test",
            version="1",
            dtype="float32",
            adapter=self._adapter,
        )

    def complete(self, requests: Sequence[ChatRequest]) -> list[Completion | Failure]:
        raise AssertionError(requests)


@pytest.mark.parametrize(
    ("adapter", "minds", "note"),
    [
        (None, {}, RULES_NOTE),
        ("", {"kind": "embedded"}, UNTRAINED_NOTE),
        ("cd" * 32, {"kind": "embedded"}, "minds: embedded, trained"),
        (None, {"juniors": True}, f"{RULES_NOTE}; technical by contrarian-1 (one's own)"),
        ("", {"kind": "embedded", "juniors": True}, UNTRAINED_NOTE),
        (
            "",
            {"roles": {"news": "embedded"}, "juniors": True},
            "minds: rules, news: embedded; UNTRAINED language models (news): no adapter, so "
            "their opinions bind to the schema and mean nothing yet; "
            "technical by contrarian-1 (one's own)",
        ),
    ],
)
def test_a_note_tells_language_models_from_juniors_of_ones_own(own, adapter, minds, note):
    if "juniors" in minds:
        minds = minds | {"juniors": (own(),)}
    backend = None if adapter is None else _Served(adapter)
    mind = build_mind(Settings(minds=MindSettings(**minds)), backend=backend)
    assert minds_note(mind) == note
