"""Settings: which source wins, what is refused, and what is never shown."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from adaptman.config import Settings, default_actor, load_settings, redacted, unknown_variables
from adaptman.errors import SettingsError
from adaptman.signing import PASSPHRASE


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


def test_the_operating_system_says_who_is_acting(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = default_actor()
    for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER", "GITHUB_ACTOR", "GITLAB_USER_LOGIN"):
        monkeypatch.setenv(name, "boss")
    assert load_settings().actor == default_actor() == actor
    assert actor.partition("@")[0] == pwd.getpwuid(os.getuid()).pw_name


def test_a_user_id_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert default_actor().startswith(f"{os.getuid()}@")


def test_who_is_acting_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("adaptman.toml").write_text('actor = "file"\n')
    assert load_settings().actor == "file"
    monkeypatch.setenv("ADAPTMAN_ACTOR", "ci/release-job")
    assert load_settings().actor == "ci/release-job"


@pytest.mark.parametrize("name", ["ada@lab ", "\tada@lab", "ada@lab\u00a0", "ａda@lab"])
def test_one_who_is_spelled_otherwise_is_the_same(name: str) -> None:
    assert load_settings({"actor": name}).actor == "ada@lab"


@pytest.mark.parametrize("name", ["", " ", "ada\x1b[2J", "ada\nbob", "ada\u200b", "x" * 201])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(SettingsError, match="`actor`"):
        load_settings({"actor": name})


def test_trusted_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().trusted_keys == ()
    Path("adaptman.toml").write_text('trusted_keys = ["keys/ada.pem", "/etc/bob.pem"]\n')
    assert load_settings().trusted_keys == (tmp_path / "keys/ada.pem", Path("/etc/bob.pem"))
    monkeypatch.setenv("ADAPTMAN_TRUSTED_KEYS", "cy.pem:dee.pem")
    assert load_settings().trusted_keys == (tmp_path / "cy.pem", tmp_path / "dee.pem")
    Path("adaptman.toml").write_text("trusted_keys = 5\n")
    monkeypatch.delenv("ADAPTMAN_TRUSTED_KEYS")
    with pytest.raises(SettingsError, match="`trusted_keys`"):
        load_settings()


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
    names = {PASSPHRASE: "x", "ADAPTMAN_HOME": "x", "ADAPTMAN_HOEM": "x", "adaptman_model": "x", "OTHER": "x"}
    assert unknown_variables(names) == ["ADAPTMAN_HOEM"]
