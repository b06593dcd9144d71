"""A workspace: the registry, the object store and the policy that one set of settings points at."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from adaptman.config import Settings, redacted
from adaptman.errors import WorkspaceError

if TYPE_CHECKING:
    from adaptman.artifacts.store import ObjectStore
    from policies.policy import Policy
    from registry.registry import Registry
    from registry.tables import Model

Clock = Callable[[], datetime]

_IGNORE_EVERYTHING = "# Made by adaptman: nothing in here belongs in a repository.\n*\n"


def utc_now() -> datetime:
    """The clock of a real run."""
    return datetime.now(UTC)


class Workspace:
    """Opens what `settings` names when it is first asked for; a context manager that closes it again."""

    def __init__(self, settings: Settings, *, clock: Clock = utc_now) -> None:
        self.settings = settings
        self.clock = clock

    @classmethod
    def open(cls, settings: Settings, *, clock: Clock = utc_now) -> Workspace:
        """The workspace that stands at `settings.home`.

        Raises:
            WorkspaceError: there is none.
        """
        if not settings.home.is_dir() or not _has_registry(settings):
            raise WorkspaceError(f"no workspace at `{settings.home}`", hint="run `adaptman init` to make one")
        return cls(settings, clock=clock)

    @classmethod
    def create(cls, settings: Settings, *, clock: Clock = utc_now) -> Workspace:
        """Make the folders and bring the registry to this version's schema; what stands already is kept.

        Raises:
            WorkspaceError: the home folder cannot be made or written.
            RegistryError: the registry cannot be reached or migrated.
        """
        try:
            _make_folders(settings)
        except OSError as error:
            raise _cannot_write(settings.home, error) from error
        from registry import migrate

        migrate.upgrade(settings.registry_url)
        return cls(settings, clock=clock)

    @cached_property
    def registry(self) -> Registry:
        """The registry.

        Raises:
            RegistryError: it cannot be reached, or its schema is of another age.
        """
        from registry.registry import Registry

        return Registry.open(self.settings.registry_url, actor=self.settings.actor, clock=self.clock)

    @cached_property
    def store(self) -> ObjectStore:
        """The content-addressed store.

        Raises:
            ArtifactError: it is at a URL whose protocol is unknown or not installed.
        """
        from adaptman.artifacts.store import ObjectStore

        place = self.settings.objects
        if isinstance(place, Path):
            return ObjectStore(place)
        from adaptman.artifacts.remote import Remote

        return ObjectStore(self.settings.home / "cache", remote=Remote.open(place, redact=redacted))

    def model_row(self) -> Model:
        """The model line that `settings.model` names.

        Raises:
            WorkspaceError: there is no such line.
        """
        with self.registry.read() as reader:
            rows = reader.models()
        name = self.settings.model
        found = next((row for row in rows if row.name == name), None)
        if found is not None:
            return found
        if not rows:
            raise WorkspaceError(
                "the workspace has no model yet", hint="run `adaptman init` to register a base model"
            )
        known = ", ".join(f"`{row.name}`" for row in rows)
        raise WorkspaceError(
            f"no model line `{name}`",
            hint=f"known lines are {known}; run `adaptman --model {name} init` for a new one",
        )

    def policy(self) -> Policy:
        """The promotion policy that `settings.policy` names.

        Raises:
            PolicyError: no built-in policy has that name, or the file is not a policy.
            WorkspaceError: the file cannot be read.
        """
        from adaptman.lifecycle.policies import find_policy

        return find_policy(self.settings.policy)

    def close(self) -> None:
        """Let go of the database connections, if any were made."""
        if "registry" in self.__dict__:
            self.registry.close()
            del self.__dict__["registry"]

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sqlite_file(url: str) -> Path | None:
    """The file behind a SQLite URL; `None` for any other database and for one in memory."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] != "sqlite":
        return None
    path = rest.removeprefix("/").partition("?")[0]
    return Path(path) if path and path != ":memory:" else None


def _has_registry(settings: Settings) -> bool:
    file = sqlite_file(settings.registry_url)
    return file is None or file.is_file()


def _make_folders(settings: Settings) -> None:
    from adaptman.artifacts.folder import make_folder

    make_folder(settings.home)
    if isinstance(settings.objects, Path):
        settings.objects.mkdir(parents=True, exist_ok=True)
    database = sqlite_file(settings.registry_url)
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
    ignore = settings.home / ".gitignore"
    if not ignore.exists():
        ignore.write_text(_IGNORE_EVERYTHING, encoding="utf-8")
    if not os.access(settings.home, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(settings.home))


def _cannot_write(home: Path, error: OSError) -> WorkspaceError:
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return WorkspaceError(
            f"no space left for `{home}`: {reason}", hint="free some space and run the command again"
        )
    return WorkspaceError(
        f"the home folder `{home}` cannot be written: {reason}",
        hint="choose another folder with `--home DIR` or `ADAPTMAN_HOME`",
    )
