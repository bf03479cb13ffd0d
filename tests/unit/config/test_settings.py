"""Settings: profiles, overrides, refusals; secrets stay masked."""

import msgspec
import pytest

from config.errors import ConfigError
from config.secrets import Secret, read_secret, require_secret
from config.settings import PROFILES, Settings, load_settings


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
    assert read_secret("FINNHUB_API_KEY", environ={"FINNHUB_API_KEY": "x"}) == Secret("x")


def test_a_missing_secret_is_named():
    with pytest.raises(ConfigError, match="expected SOME_KEY"):
        require_secret("SOME_KEY", environ={})


def test_a_wide_books_band_is_at_most_half_an_even_holding():
    settings = load_settings(overrides={"desk.no_trade_band": 0.01}, environ={})
    gross = settings.limits.max_gross * settings.limits.headroom
    assert settings.band(8) == 0.01
    assert settings.band(126) == pytest.approx(gross / 252)
