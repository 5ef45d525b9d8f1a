"""Where settings come from, which source wins, and how one is saved."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

import hud._core.settings as module
from hud._core.errors import InputError, StoreError
from hud._core.redact import redact
from hud._core.settings import Settings, get_settings, read_settings, save_setting

NAMES = [str(field.alias) for field in Settings.model_fields.values()]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HUD_HOME", str(home))
    monkeypatch.chdir(work)
    get_settings.cache_clear()
    return home


def test_without_any_setting_no_address_is_known_and_nothing_is_reported() -> None:
    settings = read_settings()
    urls = [name for name in Settings.model_fields if name.endswith("_url")]
    assert len(urls) == 7
    assert [getattr(settings, name) for name in urls] == [None] * 7
    assert settings.telemetry_enabled is True
    assert settings.cli_analytics_enabled is False
    assert (settings.client_timeout, settings.file_tracking_interval) == (600, 2.0)


def test_arguments_win_over_the_environment_and_that_over_the_nearer_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_text(
        "HUD_API_URL=http://home\nHUD_WEB_URL=http://home\nAWS_REGION=home\n"
    )
    Path(".env").write_text("HUD_API_URL=http://here\nHUD_WEB_URL=http://here\n")
    monkeypatch.setenv("HUD_API_URL", "http://environment")
    settings = read_settings()
    assert settings.hud_api_url == "http://environment"
    assert settings.hud_web_url == "http://here"
    assert settings.aws_region == "home"
    assert Settings(hud_api_url="http://argument").hud_api_url == "http://argument"


def test_one_address_and_a_key_say_where_every_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUD_API_URL", "http://127.0.0.1:8420/")
    assert read_settings().hud_gateway_url is None, "without a key there is nobody to ask"
    monkeypatch.setenv("HUD_API_KEY", "hud-key-1")
    settings = read_settings()
    assert settings.hud_api_url == "http://127.0.0.1:8420/"
    assert settings.hud_telemetry_url == "http://127.0.0.1:8420/telemetry/v3/api"
    assert settings.hud_gateway_url == "http://127.0.0.1:8420/inference"
    assert settings.hud_runtime_url == settings.hud_web_url == "http://127.0.0.1:8420"
    assert settings.hud_rl_url == "http://127.0.0.1:8420/rl"


def test_a_service_with_an_address_of_its_own_is_there_and_an_empty_one_is_nowhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_text("HUD_API_URL=http://origin\nHUD_API_KEY=hud-key-1\n")
    monkeypatch.setenv("HUD_TELEMETRY_URL", "http://elsewhere/spans")
    monkeypatch.setenv("HUD_GATEWAY_URL", "")
    settings = read_settings()
    assert settings.hud_telemetry_url == "http://elsewhere/spans"
    assert settings.hud_gateway_url is None
    assert settings.hud_rl_url == "http://origin/rl"


def test_a_key_of_somebody_else_is_not_taken_for_the_hud_key(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_API_URL", "http://origin")
    monkeypatch.setenv("API_KEY", "of-another-service")
    monkeypatch.setenv("CLIENT_TIMEOUT", "1")
    (home / ".env").write_text("API_KEY=of-another-service\nTELEMETRY_ENABLED=false\n")
    settings = read_settings()
    assert settings.api_key is None
    assert settings.hud_telemetry_url is None
    assert settings.client_timeout == 600
    assert settings.telemetry_enabled is True
    assert Settings(api_key="hud-key-1").api_key == "hud-key-1"


def test_an_empty_variable_hides_the_file_and_counts_as_not_set(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_text("OPENAI_API_KEY=from-the-file\nHUD_TELEMETRY_ENABLED=false\n")
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("HUD_TELEMETRY_ENABLED", "")
    settings = read_settings()
    assert settings.openai_api_key is None
    assert settings.telemetry_enabled is True


def test_use_is_never_reported_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HUD_CLI_ANALYTICS_ENABLED", "true")
    assert read_settings().cli_analytics_enabled is False


def test_unknown_names_in_a_file_are_kept(home: Path) -> None:
    (home / ".env").write_text("MY_OWN_THING=1\n")
    assert (read_settings().model_extra or {})["my_own_thing"] == "1"


def test_a_value_of_the_wrong_kind_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUD_CLIENT_TIMEOUT", "soon")
    with pytest.raises(InputError, match="HUD_CLIENT_TIMEOUT = soon"):
        read_settings()


def test_keys_from_a_file_are_redacted_and_never_shown(home: Path) -> None:
    (home / ".env").write_text("HUD_API_KEY=plain-looking-1\nMY_SECRET=plain-looking-2\n")
    settings = read_settings()
    assert settings.api_key == "plain-looking-1"
    assert "plain-looking" not in repr(settings) + str(settings)
    assert "plain-looking" not in redact("a plain-looking-1 b plain-looking-2 c")


def test_the_singleton_is_read_once() -> None:
    import hud.settings as public

    assert public.settings is get_settings()
    assert module.settings is get_settings()
    with pytest.raises(AttributeError, match="nonsense"):
        _ = public.nonsense


def test_saved_settings_come_back_and_other_lines_stay(home: Path) -> None:
    path = home / ".env"
    path.write_text("# mine\nexport OLD=1\nHUD_API_URL=http://old\n")
    values = {"HUD_API_URL": "http://new?a=1&b", "ODD_ONE": 'it\'s #1 \\ "x" = ü'}
    assert save_setting(values) == path
    assert path.read_text(encoding="utf-8").startswith("# mine\nexport OLD=1\n")
    assert path.read_text(encoding="utf-8").count("HUD_API_URL") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings = get_settings()
    assert settings.hud_api_url == values["HUD_API_URL"]
    extra = settings.model_extra or {}
    assert (extra["odd_one"], extra["old"]) == (values["ODD_ONE"], "1")
    assert [file.name for file in home.iterdir()] == [".env"]


def test_saving_makes_the_next_read_see_it() -> None:
    assert get_settings().hud_web_url is None
    save_setting({"HUD_WEB_URL": "http://web"})
    assert get_settings().hud_web_url == "http://web"


@pytest.mark.parametrize(("name", "value"), [("A-B", "x"), ("", "x"), ("A", "x\ny"), ("A", "${B}")])
def test_what_a_file_cannot_hold_is_refused(home: Path, name: str, value: str) -> None:
    with pytest.raises(InputError):
        save_setting({name: value})
    assert not (home / ".env").exists()


def test_a_file_that_cannot_be_written_is_a_store_error(home: Path) -> None:
    (home / ".env").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        save_setting({"A": "x"})


def test_agents_are_importable_without_reading_settings() -> None:
    program = (
        "import sys, hud.agents.openai_chat, hud.agents.create\n"
        "print([m for m in ('openai', 'pydantic_settings', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
