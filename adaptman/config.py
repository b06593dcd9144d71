"""Settings: defaults < `adaptman.toml` in the working directory < `ADAPTMAN_*` environment < flags.

Used by the command line and the lifecycle only; every other room is handed plain values.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import AfterValidator, Field, PlainValidator, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from adaptman.errors import SettingsError

SETTINGS_FILE = "adaptman.toml"
ENVIRONMENT_PREFIX = "ADAPTMAN_"

_NO_SETTINGS = frozenset({"ADAPTMAN_SIGNING_PASSPHRASE"})
"""Variables that are read where they are needed, and kept by nobody."""

_LINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PASSWORD_IN_AUTHORITY = re.compile(r"(?P<head>[A-Za-z][\w+.-]*://[^\s/?#:@]*:)[^\s/?#]*(?=@)")
_PASSWORD_IN_QUERY = re.compile(
    r"(?P<head>[?&;](?:password|passwd|pwd|token|secret|sslpassword)=)[^\s&;#`'\"]*", re.IGNORECASE
)


def redacted(text: str) -> str:
    """`text` with the passwords of every URL in it replaced by `***`."""
    hidden = _PASSWORD_IN_AUTHORITY.sub(r"\g<head>***", text)
    return _PASSWORD_IN_QUERY.sub(r"\g<head>***", hidden)


def _absolute(path: Path) -> Path:
    """A detached process may run in another folder, so no relative path leaves this file."""
    return Path(os.path.abspath(path.expanduser()))


def default_actor() -> str:
    """`user@host`, as the registry's events name who did it.

    The operating system is asked, and not `USER` or `LOGNAME`, which anybody can set; nor does a variable of
    a CI service count, which the job itself may overwrite: naming it is up to `actor`.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container whose user id has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _default_registry_url(values: dict[str, Any]) -> str:
    return f"sqlite:///{values['home'] / 'registry.db'}"


def _default_tracking_uri(values: dict[str, Any]) -> str:
    return f"sqlite:///{values['home'] / 'mlflow.db'}"


def _default_artifact_location(values: dict[str, Any]) -> str | None:
    """A local store would otherwise put artifacts in whatever folder a command was run from."""
    return str(values["home"] / "mlartifacts") if values["tracking_uri"].startswith("sqlite:") else None


def _default_objects(values: dict[str, Any]) -> Path:
    return Path(values["home"] / "objects")


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


def _place(value: Any) -> Path | str:
    """A folder, or the URL of any protocol but that of files."""
    if isinstance(value, str) and "://" in value and not value.startswith(_FILE_SCHEMES):
        return value
    if isinstance(value, str):
        value = Path(unquote(value.partition("://")[2]) if "://" in value else value)
    if not isinstance(value, Path):
        raise ValueError("must be a folder or a URL")
    return _absolute(value)


_FILE_SCHEMES = ("file://", "local://")
Place = Annotated[Path | str, PlainValidator(_place)]


class Settings(BaseSettings):
    """Where the workspace is, which model line is meant, and who is acting."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        toml_file=SETTINGS_FILE,
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    home: AbsolutePath = Path(".adaptman")
    """Folder of the workspace: registry, objects and MLflow's store unless they are set elsewhere."""

    model: str = "default"
    """Name of the model line that commands act on."""

    registry_url: str = Field(default_factory=_default_registry_url)
    """SQLAlchemy URL of the registry; by default `registry.db` in the home folder."""

    tracking_uri: str = Field(default_factory=_default_tracking_uri)
    """MLflow tracking URI; by default `mlflow.db` in the home folder."""

    artifact_location: str | None = Field(default_factory=_default_artifact_location)
    """Where MLflow puts the artifacts of a new experiment; by default `mlartifacts` in the home folder for a
    local store, and the server's own choice for any other."""

    objects: Place = Field(default_factory=_default_objects)
    """The content-addressed store: a folder, or a URL of any protocol that fsspec knows, such as
    `s3://BUCKET/PREFIX`; copies of what is used are then kept in `cache` in the home folder. By default
    `objects` in the home folder."""

    retention: str = "retention"
    """What `adaptman store gc` may remove: the built-in retention policy, or the path of a YAML file."""

    policy: str = "default"
    """Promotion policy: the name of a built-in one, or the path of a YAML file."""

    actor: str = Field(default_factory=default_actor, min_length=1, max_length=200)
    """Who is acting, as events record it; by default `user@host`, by the operating system. For CI, say which
    identity counts: `ADAPTMAN_ACTOR="$GITHUB_ACTOR"`; none is taken from the environment unasked."""

    trusted_keys: Annotated[tuple[AbsolutePath, ...], NoDecode] = Field(default_factory=tuple)
    """PEM files of the Ed25519 public keys whose signatures count; in the environment divided by `:`. By
    default none."""

    auto_sync: bool = True
    """Whether a command that changed something starts a process in the background that tells MLflow."""

    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads that training and evaluation may use; by default as many as torch chooses."""

    device: str = Field(default="cpu", min_length=1)
    """Where models are loaded, trained and asked, as torch names it: `cpu`, `cuda`, `cuda:1`. Tested on the
    CPU, and on a stand-in for another device; no GPU has run it yet."""

    @field_validator("actor")
    @classmethod
    def _one_name(cls, value: str) -> str:
        # Two spellings that look the same on a screen must not be two people.
        name = unicodedata.normalize("NFKC", value).strip()
        if not name or not name.isprintable():
            raise ValueError("must be a name in printable characters")
        return name

    @field_validator("trusted_keys", mode="before")
    @classmethod
    def _divided(cls, value: Any) -> Any:
        return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value

    @field_validator("model")
    @classmethod
    def _line_name(cls, value: str) -> str:
        if not _LINE_NAME.fullmatch(value):
            raise ValueError(
                "must be letters, digits, `.`, `-` or `_`, at most 100, beginning with a letter or digit"
            )
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the file; no `.env`, no secrets folder."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force. `flags` holds what the command line set; an entry of `None` counts as not set.

    Raises:
        SettingsError: a file that is not TOML, an unknown key, or a value of the wrong type; the message
            names the file, variable or flag, and the key, and never shows the value.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _settings_error(_first_cause(error), given) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"`{SETTINGS_FILE}` is not TOML: {error}", hint=_FILE_HINT) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"`{SETTINGS_FILE}` cannot be read: {error}", hint=_FILE_HINT) from error


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Names of `ADAPTMAN_*` variables that set nothing, most likely a misspelling."""
    known = {f"{ENVIRONMENT_PREFIX}{name}".upper() for name in Settings.model_fields} | _NO_SETTINGS
    names = os.environ if environment is None else environment
    return sorted(
        name for name in names if name.upper().startswith(ENVIRONMENT_PREFIX) and name.upper() not in known
    )


_FILE_HINT = f"correct `{SETTINGS_FILE}`, or run the command from another folder"


def _first_cause(error: ValidationError) -> ErrorDetails:
    """The first complaint about something that was set; a default that could not be made is a sequel."""
    details = error.errors(include_url=False, include_input=False)
    return next((item for item in details if item["type"] != "default_factory_not_called"), details[0])


def _settings_error(detail: ErrorDetails, flags: Mapping[str, Any]) -> SettingsError:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = ", ".join(f"`{name}`" for name in Settings.model_fields)
        return SettingsError(f"{_origin(key, flags)}: unknown key `{key}`", hint=f"known keys are {known}")
    reason = detail["msg"].removeprefix("Value error, ").removesuffix(" for <class 'pathlib.Path'>")
    meaning = " ".join((Settings.model_fields[key].description or "").split())
    return SettingsError(
        f"{_origin(key, flags)}: `{key}`: {reason[:1].lower()}{reason[1:]}", hint=f"`{key}` is: {meaning}"
    )


def _origin(key: str, flags: Mapping[str, Any]) -> str:
    """Where the value of `key` came from, by the order in which the sources win."""
    if key in flags:
        return f"flag `--{key.replace('_', '-')}`"
    variable = next(
        (name for name in os.environ if name.upper() == f"{ENVIRONMENT_PREFIX}{key}".upper()), None
    )
    if variable is not None and os.environ[variable]:
        return f"environment variable `{variable}`"
    return f"`{SETTINGS_FILE}`"
