"""Settings: which source wins, what is refused, and what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptman.config import Settings, default_actor, load_settings, redacted, unknown_variables
from adaptman.errors import SettingsError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_lie_in_the_home_folder(tmp_path: Path) -> None:
    settings = load_settings()
    home = tmp_path / ".adaptman"
    assert settings.home == home
    assert settings.registry_url == f"sqlite:///{home}/registry.db"
    assert settings.tracking_uri == f"sqlite:///{home}/mlflow.db"
    assert settings.artifact_location == str(home / "mlartifacts")
    assert settings.objects == home / "objects"
    assert (settings.model, settings.policy, settings.threads) == ("default", "default", None)
    assert settings.actor == default_actor()


def test_flags_over_environment_over_file_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().model == "default"
    Path("adaptman.toml").write_text('model = "file"\nthreads = 3\n')
    assert load_settings().model == "file"
    monkeypatch.setenv("ADAPTMAN_MODEL", "environment")
    assert load_settings().model == "environment"
    assert load_settings({"model": "flag"}).model == "flag"
    assert load_settings({"model": None}).model == "environment"
    assert load_settings().threads == 3


def test_an_empty_variable_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTMAN_MODEL", "")
    assert load_settings().model == "default"


def test_a_server_chooses_where_its_artifacts_are() -> None:
    assert load_settings({"tracking_uri": "http://127.0.0.1:5000"}).artifact_location is None


def test_no_relative_path_leaves(tmp_path: Path) -> None:
    settings = load_settings({"home": "a/../b", "objects": "~/objects"})
    assert settings.home == tmp_path / "b"
    assert settings.objects == Path.home() / "objects"


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('modle = "x"', "`adaptman.toml`: unknown key `modle`"),
        ("home = 3", "`adaptman.toml`: `home`: input is not a valid path"),
        ('threads = "many"', "`adaptman.toml`: `threads`: input should be a valid integer"),
        ("threads = 0", "`adaptman.toml`: `threads`: input should be greater than or equal to 1"),
        ('model = "../x"', "`adaptman.toml`: `model`: must be letters"),
        ('auto_sync = "perhaps"', "`adaptman.toml`: `auto_sync`: input should be a valid boolean"),
        ("model = ", "`adaptman.toml` is not TOML"),
    ],
)
def test_a_file_that_cannot_be_used(text: str, message: str) -> None:
    Path("adaptman.toml").write_text(text)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert raised.value.message.startswith(message)
    assert raised.value.hint


def test_a_file_that_is_not_text() -> None:
    Path("adaptman.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings()


def test_where_a_bad_value_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("adaptman.toml").write_text("threads = 2\n")
    monkeypatch.setenv("ADAPTMAN_THREADS", "x")
    with pytest.raises(SettingsError, match="environment variable `ADAPTMAN_THREADS`: `threads`"):
        load_settings()
    with pytest.raises(SettingsError, match="flag `--model`: `model`"):
        load_settings({"model": "a b", "threads": 1})


def test_a_refused_value_is_not_shown() -> None:
    Path("adaptman.toml").write_text('registry_url = ["postgresql://ada:s3cret@db/x"]\n')
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "s3cret" not in raised.value.message + raised.value.hint


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://ada:s3cret@db:5432/x", "postgresql+psycopg://ada:***@db:5432/x"),
        ("postgresql://ada:p@ss@db/x", "postgresql://ada:***@db/x"),
        ("two: http://u:a@h and http://v:b@h", "two: http://u:***@h and http://v:***@h"),
        (
            "postgresql://db/x?user=ada&password=s3cret&sslmode=on",
            "postgresql://db/x?user=ada&password=***&sslmode=on",
        ),
        ("sqlite:////home/ada/registry.db", "sqlite:////home/ada/registry.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("ada@lab: 10:30", "ada@lab: 10:30"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_variables_that_set_nothing_are_found() -> None:
    names = {"ADAPTMAN_HOME": "x", "ADAPTMAN_HOEM": "x", "adaptman_model": "x", "OTHER": "x"}
    assert unknown_variables(names) == ["ADAPTMAN_HOEM"]
