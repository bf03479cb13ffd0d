"""Settings: profiles, overrides, refusals; secrets stay masked."""

import tomllib

import msgspec
import pytest

from config.allocator import TRAININGS, TrainingSettings
from config.errors import ConfigError
from config.secrets import read_secret
from config.settings import PROFILES, Settings, load_settings, load_struct


def test_every_shipped_profile_loads():
    for path in PROFILES.glob("*.yaml"):
        assert isinstance(load_settings(path.stem, environ={}), Settings)


def test_the_command_line_beats_the_environment_and_it_beats_the_file(tmp_path):
    profile = tmp_path / "p.yaml"
    profile.write_text("seed: 1\nlimits: {max_position: 0.2}\ndata: {start: 2010-01-04}\n")
    environ = {"QUARTERDECK_LIMITS__MAX_POSITION": "0.3"}
    assert load_settings(profile, environ={}).limits.max_position == 0.2
    assert load_settings(profile, environ=environ).limits.max_position == 0.3
    loaded = load_settings(profile, {"limits.max_position": 0.4, "seed": None}, environ)
    assert (loaded.limits.max_position, loaded.seed) == (0.4, 1)
    assert loaded.data.start == "2010-01-04"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("limits: {max_positon: 0.1}", "limits.max_positon"),
        ("limits: {max_position: 1.5}", "limits.max_position"),
        ("limits: {max_position: lots}", "limits.max_position"),
        ("seed: -1", "seed"),
        ("speed: 1", "speed"),
        ("desk: {horizon: never}", "desk.horizon"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path(tmp_path, text, path):
    profile = tmp_path / "p.yaml"
    profile.write_text(text)
    with pytest.raises(ConfigError, match=rf"p\.yaml: {path}"):
        load_settings(profile, environ={})


def test_a_variable_sets_a_field_of_no_section_and_other_purposes_keep_theirs():
    environ = {"QUARTERDECK_SEED": "7", "QUARTERDECK_HOME": "x", "QUARTERDECK_TEST_VLLM_URL": "y"}
    loaded = load_settings(environ=environ)
    assert loaded.seed == 7
    assert "seed" in loaded.stated


@pytest.mark.parametrize("name", ["TAPE", "LIMITS", "STATED", ""])
def test_a_variable_that_names_no_setting_is_refused(name):
    with pytest.raises(ConfigError, match=f"^expected QUARTERDECK_{name} to name a setting"):
        load_settings(environ={f"QUARTERDECK_{name}": "1"})


SEED, POSITION = "QUARTERDECK_SEED", "QUARTERDECK_LIMITS__MAX_POSITION"


@pytest.mark.parametrize(
    ("page", "environ", "flags", "words"),
    [
        ("seed: 1", {SEED: "x"}, {}, f"{SEED}: seed: expected `int`, was 'x'"),
        ("seed: x", {SEED: "x"}, {}, "p.yaml: seed: expected `int`, was 'x'"),
        ("seed: x", {SEED: "y"}, {}, f"{SEED}: seed: expected `int`, was 'y'"),
        ("seed: x", {POSITION: "0.1"}, {"data.source": "s"}, "p.yaml: seed"),
        ("seed: 1", {POSITION: "2", SEED: "1"}, {"seed": 2}, f"{POSITION}: limits.max_position"),
        ("seed: 1", {f"{POSITION}S": "1"}, {}, f"{POSITION}S: limits.max_positions: expected a"),
        ("seed: 1", {}, {"data.start": "soon"}, "flags: data: expected start as"),
        ("data: {end: 2013-01-01}", {}, {"data.start": "2014-01-01"}, "flags: data: expected a"),
        ("seed: 1", {f"{SEED}__DEEP": "1"}, {}, f"{SEED}__DEEP: seed.deep: expected a field"),
    ],
)
def test_a_wrong_field_is_blamed_on_whoever_gave_it(tmp_path, page, environ, flags, words):
    profile = tmp_path / "p.yaml"
    profile.write_text(page)
    with pytest.raises(ConfigError, match=f"^{words}"):
        load_settings(profile, flags, environ)


def test_what_a_flag_mends_is_not_refused(tmp_path):
    profile = tmp_path / "p.yaml"
    profile.write_text("seed: x")
    assert load_settings(profile, {"seed": 2}, {SEED: "y"}).seed == 2


@pytest.mark.parametrize("text", ["- a\n- b", "a: [", "\x00"])
def test_a_profile_that_is_no_mapping_is_refused_in_one_line(tmp_path, text):
    profile = tmp_path / "p.yaml"
    profile.write_text(text)
    with pytest.raises(ConfigError, match=r"expected") as refusal:
        load_settings(profile, environ={})
    assert "\n" not in str(refusal.value)


def test_an_unknown_profile_names_those_there_are():
    with pytest.raises(ConfigError, match=r"expected a profile \(backtest"):
        load_settings("nope", environ={})


def test_the_digest_changes_with_any_setting():
    settings = Settings()
    assert settings.digest == Settings().digest
    assert msgspec.structs.replace(settings, seed=1).digest != settings.digest


def test_a_secret_never_shows_itself(tmp_path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("# a comment\nexport FINNHUB_API_KEY='abc123'\n")
    secret = read_secret("FINNHUB_API_KEY", environ={}, dotenv=dotenv)
    assert secret is not None
    assert secret.reveal() == "abc123"
    assert "abc123" not in f"{secret} {secret!r} {[secret]}"
    nearer = read_secret("FINNHUB_API_KEY", environ={"FINNHUB_API_KEY": "x"})
    assert nearer is not None
    assert nearer.reveal() == "x"


@pytest.mark.parametrize("text", ["ключ", "key\nand more", "a\x00b"])
def test_a_secret_that_could_not_be_sent_is_refused_unseen(text):
    with pytest.raises(ConfigError, match=r"^expected VLLM_API_KEY in printable ASCII") as refusal:
        read_secret("VLLM_API_KEY", environ={"VLLM_API_KEY": text})
    assert text not in str(refusal.value)


def test_secrets_that_are_no_text_are_refused(tmp_path):
    (tmp_path / ".env").write_bytes(b"VLLM_API_KEY=\xff\n")
    with pytest.raises(ConfigError, match="expected secrets as text"):
        read_secret("VLLM_API_KEY", environ={}, dotenv=tmp_path / ".env")


@pytest.mark.parametrize(
    "url",
    ["http://me:hunter2@host/v1", "me:hunter2@host", "http://h/v1?key=hunter2", "http://h/#k"],
)
def test_an_address_with_a_secret_in_it_is_no_setting(url):
    with pytest.raises(ConfigError, match=r"vllm.*VLLM_API_KEY") as refusal:
        load_settings(overrides={"minds.vllm.base_url": url}, environ={})
    assert "hunter2" not in str(refusal.value)


def test_a_number_that_is_not_finite_is_refused_where_no_range_says_so(tmp_path):
    page = tmp_path / "t.yaml"
    page.write_text("joint: {curriculum: {pass_mark: -.inf}}")
    with pytest.raises(ConfigError, match=r"t\.yaml: joint\.curriculum\.pass_mark: .* finite"):
        load_struct(TrainingSettings, page, TRAININGS)
    with pytest.raises(ConfigError, match=r"flags: joint\.curriculum\.pass_mark: .* finite"):
        load_struct(
            TrainingSettings,
            "equity",
            TRAININGS,
            {"joint.curriculum.pass_mark": float("nan")},
        )


def test_a_wide_books_band_is_at_most_half_an_even_holding():
    settings = load_settings(overrides={"desk.no_trade_band": 0.01}, environ={})
    gross = settings.limits.max_gross * settings.limits.headroom
    assert settings.band(8) == 0.01
    assert settings.band(126) == pytest.approx(gross / 252)


DATED = "data: {source: mine, start: 2010-01-04, end: 2012-12-31, symbols: [A]}\n"
SOURCE, START = "QUARTERDECK_DATA__SOURCE", "QUARTERDECK_DATA__START"


@pytest.mark.parametrize(
    ("page", "given", "environ", "start", "end", "symbols"),
    [
        (DATED, {}, {}, "2010-01-04", "2012-12-31", ("A",)),
        (DATED, {"data.source": "mine"}, {}, "2010-01-04", "2012-12-31", ("A",)),
        (DATED, {"data.source": "other"}, {}, None, None, ()),
        (DATED, {"data.source": "other", "data.end": "2026-06-30"}, {}, None, "2026-06-30", ()),
        (DATED, {"data.start": "2011-01-03"}, {}, "2011-01-03", "2012-12-31", ("A",)),
        (DATED, {}, {SOURCE: "other"}, None, None, ()),
        (DATED, {"data.source": "other"}, {START: "2024-01-02"}, "2024-01-02", None, ()),
        (DATED, {"data.source": "mine"}, {SOURCE: "other"}, "2010-01-04", "2012-12-31", ("A",)),
        ("data: {start: 2010-01-04}\n", {"data.source": "other"}, {}, "2010-01-04", None, ()),
        ("seed: 1\n", {"data.source": "other"}, {}, None, None, ()),
    ],
)
def test_a_profiles_dates_hold_for_the_source_that_it_names(
    tmp_path, page, given, environ, start, end, symbols
):
    profile = tmp_path / "p.yaml"
    profile.write_text(page)
    data = load_settings(profile, given, environ).data
    assert (data.start, data.end, data.symbols) == (start, end, symbols)


def test_the_default_profile_leaves_another_source_whole():
    data = load_settings(overrides={"data.source": "folder"}, environ={}).data
    assert (data.start, data.end) == (None, None)
    assert load_settings(overrides={"data.source": "packaged"}, environ={}).data.end is not None


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        ("start: soon", "data: expected start as YYYY-MM-DD, was 'soon'"),
        ("end: 2020-02-30", "data: expected end as YYYY-MM-DD, was '2020-02-30'"),
        ("end: 2020-2-3", "data: expected end as YYYY-MM-DD, was '2020-2-3'"),
        ("start: 2020-W01-1", "data: expected start as YYYY-MM-DD, was '2020-W01-1'"),
        (
            "start: 2020-02-04, end: 2020-02-03",
            "data: expected a start on or before the end, was 2020-02-04 to 2020-02-03",
        ),
    ],
)
def test_dates_that_are_none_are_refused_when_they_are_loaded(tmp_path, dates, words):
    profile = tmp_path / "p.yaml"
    profile.write_text(f"data: {{{dates}}}\n")
    with pytest.raises(ConfigError, match=f"^p.yaml: {words}$"):
        load_settings(profile, environ={})


def test_installed_packages_are_compiled():
    project = tomllib.loads((PROFILES.parents[1] / "pyproject.toml").read_text())
    assert project["tool"]["uv"]["compile-bytecode"] is True


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("desk: {horizon: never}", "desk.horizon: expected long, medium or short, was 'never'"),
        ("minds: {kind: psychic}", "minds.kind: expected embedded, rules or vllm, was 'psychic'"),
        ("minds: {roles: {news: psychic}}", "minds.roles"),
    ],
)
def test_a_value_that_is_none_of_a_list_is_refused_with_the_list(tmp_path, page, words):
    profile = tmp_path / "p.yaml"
    profile.write_text(page)
    with pytest.raises(ConfigError, match=f"^p.yaml: {words}"):
        load_settings(profile, environ={})


def test_a_training_that_says_book_is_told_to_say_dataset(tmp_path):
    training = tmp_path / "t.yaml"
    training.write_text("book: {name: equity}")
    with pytest.raises(ConfigError, match=r"t\.yaml: book: expected the key dataset, was book"):
        load_struct(TrainingSettings, training, TRAININGS)


def test_a_key_of_before_is_refused_with_its_name_of_now(tmp_path, monkeypatch):
    monkeypatch.setattr(Settings, "renamed", {"limits.worst": "limits.max_var"})
    profile = tmp_path / "p.yaml"
    profile.write_text("limits: {worst: 0.1}")
    with pytest.raises(ConfigError, match=r"expected the key limits\.max_var, was limits\.worst"):
        load_settings(profile, environ={})
