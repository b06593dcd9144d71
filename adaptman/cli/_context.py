"""What every command is handed: the root command's flags, and the settings and workspace made from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptman.config import Settings
    from adaptman.lifecycle.doctor import Probes
    from adaptman.lifecycle.workspace import Workspace


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class App:
    """One run of the command line. `flags` are settings set on the root command; tests set the rest."""

    flags: dict[str, Any] = field(default_factory=dict)
    clock: Callable[[], datetime] = _utc_now
    probes: Probes | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings in force; raises SettingsError."""
        from adaptman.config import load_settings

        return load_settings(self.flags)

    def workspace(self) -> Workspace:
        """The workspace at `settings.home`, closed when the command ends; raises WorkspaceError."""
        from adaptman.lifecycle.workspace import Workspace

        workspace = Workspace.open(self.settings, clock=self.clock)
        click.get_current_context().call_on_close(workspace.close)
        return workspace


pass_app = click.make_pass_decorator(App)
"""Decorator: the command's first argument is the run's `App`."""
