"""What works here, what does not, and the way out: each check is one finding, and none mends anything."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from adaptman import __distribution__
from adaptman.config import Settings, redacted, unknown_variables
from adaptman.errors import AdaptmanError
from adaptman.lifecycle.log import verify_record
from adaptman.lifecycle.workspace import Clock, Workspace, sqlite_file, utc_now

if TYPE_CHECKING:
    from registry.reader import Reader
    from registry.tables import Model, ModelVersion

TOLD = ("torch", "transformers", "peft", "mlflow", "sqlmodel")
"""Packages whose versions a bug report needs most."""
_NAME = re.compile(r"[\w.-]+")
LEAST_FREE_BYTES = 500 * 10**6
COMFORTABLE_FREE_BYTES = 5 * 10**9
PROBE_SECONDS = 30.0
OLD_OUTBOX_SECONDS = 3600.0


class Status(StrEnum):
    """How a check went: `warn` works but wants attention, `fail` does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check; `hint` is the way out where it is not well."""

    check: str
    status: Status
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Probes:
    """What the checks ask of the world; tests put in their own."""

    python: Callable[[], str]
    free_bytes: Callable[[Path], int]
    package_version: Callable[[str], str | None]
    mlflow: Callable[[str], str | None]
    """The reason why the tracking store cannot be reached, or `None` when it can."""
    embedded_model: Callable[[], Path]


def examine(settings: Settings, *, clock: Clock = utc_now, probes: Probes | None = None) -> list[Finding]:
    """Every check, in the order in which a user would mend things."""
    asked = probes or default_probes()
    return [
        Finding("python", Status.OK, asked.python()),
        _guarded("packages", lambda: _packages(settings, asked)),
        _environment(),
        _guarded("home", lambda: _home(settings, asked)),
        *_registry(settings, clock),
        _guarded("mlflow", lambda: _mlflow(settings, asked)),
        _guarded("embedded model", lambda: _embedded(asked)),
    ]


def default_probes() -> Probes:
    """The real world."""
    return Probes(_python, _free_bytes, _package_version, probe_mlflow, _embedded_model)


def _guarded(check: str, work: Callable[[], Finding]) -> Finding:
    """A check that cannot be made is itself a finding."""
    from registry.errors import RegistryError

    try:
        return work()
    except (AdaptmanError, RegistryError) as error:
        return Finding(check, Status.FAIL, redacted(error.message), redacted(error.hint))
    except OSError as error:
        return Finding(
            check, Status.FAIL, f"`{error.filename}`: {error.strerror}" if error.filename else str(error)
        )


# the machine


def _python() -> str:
    return f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}"


def _packages(settings: Settings, probes: Probes) -> Finding:
    needed = [*_requirements(), *(["psycopg"] if settings.registry_url.startswith("postgres") else [])]
    versions = {name: probes.package_version(name) for name in needed}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        hint = "install `adaptman[postgres]`" if missing == ["psycopg"] else "install adaptman again"
        return Finding("packages", Status.FAIL, f"missing: {', '.join(missing)}", hint)
    told = ", ".join(f"{name} {versions[name]}" for name in TOLD)
    return Finding("packages", Status.OK, f"{told} and {len(versions) - len(TOLD)} more")


def _requirements() -> tuple[str, ...]:
    """What the installed distribution asks for, extras left out."""
    asked = importlib.metadata.requires(__distribution__) or []
    return tuple(name[0] for line in asked if "extra ==" not in line and (name := _NAME.match(line)))


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _environment() -> Finding:
    unknown = unknown_variables()
    if unknown:
        names = ", ".join(f"`{name}`" for name in unknown)
        return Finding(
            "environment", Status.WARN, f"{names} set nothing", "check the spelling, or unset them"
        )
    return Finding("environment", Status.OK, "no unknown ADAPTMAN_* variables")


def _home(settings: Settings, probes: Probes) -> Finding:
    if not settings.home.is_dir():
        return Finding("home", Status.WARN, f"no workspace at `{settings.home}`", "run `adaptman init`")
    folders = [settings.home, *([settings.objects] if isinstance(settings.objects, Path) else [])]
    reason = next(filter(None, map(_why_not_writable, folders)), "")
    if reason:
        return Finding(
            "home", Status.FAIL, reason, "check owner and permissions, or choose another `--home DIR`"
        )
    return _space(settings.home, probes.free_bytes(settings.home))


def _space(home: Path, free: int) -> Finding:
    text = f"`{home}` is writable, {free / 10**9:.1f} GB free"
    if free < LEAST_FREE_BYTES:
        return Finding(
            "home", Status.FAIL, text, "free some space: an update needs room for models and samples"
        )
    if free < COMFORTABLE_FREE_BYTES:
        return Finding("home", Status.WARN, text, "free some space before the next update")
    return Finding("home", Status.OK, text)


def _why_not_writable(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"adaptman")
    except OSError as error:
        return f"`{folder}` cannot be written: {error.strerror or error}"
    return ""


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


# the record


def _registry(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """The registry's schema, and what its rows say; without a usable schema nothing more is asked."""
    if not settings.home.is_dir():
        return
    schema = _guarded("registry", lambda: _schema(settings))
    yield schema
    if schema.status is Status.FAIL:
        return
    with Workspace(settings, clock=clock) as workspace:
        yield _guarded("events", lambda: _events(workspace))
        yield _guarded("champion", lambda: _champion(workspace))
        yield _guarded("rendering", lambda: _rendering(workspace))
        yield _guarded("store", lambda: _store(workspace))
        yield _guarded("outbox", lambda: _outbox(workspace))
        yield _guarded("leases", lambda: _leases(workspace))
        yield _guarded("training", lambda: _training(workspace))


def _schema(settings: Settings) -> Finding:
    from registry import migrate

    file = sqlite_file(settings.registry_url)
    if file is not None and not file.is_file():
        return Finding("registry", Status.FAIL, f"no database at `{file}`", "run `adaptman init`")
    url = redacted(settings.registry_url)
    found, expected = migrate.current(settings.registry_url), migrate.head()
    if found != expected:
        text = f"`{url}` has schema revision {found or 'none'}, this program expects {expected}"
        return Finding("registry", Status.FAIL, text, "make a backup of it, then run `adaptman db upgrade`")
    differences = migrate.check(settings.registry_url)
    if differences:
        text = f"`{url}` differs from its revision {found}: {differences[0]}"
        return Finding("registry", Status.FAIL, text, "`adaptman db check` lists all differences")
    return Finding("registry", Status.OK, f"`{url}` at schema revision {found}")


def _events(workspace: Workspace) -> Finding:
    found = verify_record(workspace)
    if found.ok:
        text = f"the chain of {found.chain.count} events holds, {found.tables.count} rows are as it tells"
        return Finding("events", Status.OK, text)
    said = [one.message for one in found.chain.problems] + [one.message for one in found.tables.problems]
    more = f", and {len(said) - 1} more" if len(said) > 1 else ""
    return Finding(
        "events",
        Status.FAIL,
        f"the record was altered: {said[0]}{more}",
        "`adaptman log --verify` lists all of it; compare with a backup",
    )


def _rendering(workspace: Workspace) -> Finding:
    """Whether the champion reads what it was trained to read; of its base no weights are read."""
    from adaptman.lifecycle.rendering import compare_rendering

    with workspace.registry.read() as reader:
        model = _model_of(workspace, reader)
        version = reader.champion(model.id) if model is not None else None
    if version is None:
        return Finding("rendering", Status.OK, "no champion yet")
    if version.rendering_digest is None:
        text = "was trained before renderings were recorded" if version.parent_id else "is the base"
        return Finding("rendering", Status.OK, f"version {version.number} {text}: nothing to compare")
    found = compare_rendering(workspace, version)
    if found.difference is not None:
        return Finding("rendering", Status.FAIL, found.told, found.way_back)
    text = f"version {version.number} reads what it was trained to read, `{version.rendering_digest[:12]}`"
    return Finding("rendering", Status.OK, text)


def _model_of(workspace: Workspace, reader: Reader) -> Model | None:
    return next((row for row in reader.models() if row.name == workspace.settings.model), None)


def _champion(workspace: Workspace) -> Finding:
    with workspace.registry.read() as reader:
        model = _model_of(workspace, reader)
        version = reader.champion(model.id) if model is not None else None
        if model is None or version is None:
            text = f"model line `{workspace.settings.model}` has no champion yet"
            return Finding("champion", Status.WARN, text, "run `adaptman init`")
        trees = _trees(reader, version)
    for digest in trees:
        workspace.store.checkout(digest)  # verifies every file
    text = f"version {version.number} of `{model.name}`, its {len(trees)} artifacts are intact"
    return Finding("champion", Status.OK, text)


def _trees(reader: Reader, version: ModelVersion) -> list[str]:
    adapters = [reader.adapter(version.adapter_id).tree_digest] if version.adapter_id is not None else []
    return [version.base_digest, *adapters]


def _outbox(workspace: Workspace) -> Finding:
    with workspace.registry.read() as reader:
        pending = reader.outbox_pending(limit=1000)
    if not pending:
        return Finding("outbox", Status.OK, "MLflow was told everything")
    waiting = (workspace.clock() - pending[0].created_at).total_seconds()
    count = f"{len(pending)}{'+' if len(pending) == 1000 else ''}"
    reason = f"; last error: {redacted(pending[0].last_error)}" if pending[0].last_error else ""
    status = Status.WARN if waiting > OLD_OUTBOX_SECONDS or reason else Status.OK
    hint = "run `adaptman lineage sync`" if status is Status.WARN else ""
    return Finding("outbox", status, f"MLflow must still be told {count} things{reason}", hint)


def _store(workspace: Workspace) -> Finding:
    """Lists the objects and reads none but the manifests of trees."""
    from adaptman.lifecycle.store_gc import plan_gc

    plan = plan_gc(workspace)
    text = f"{plan.objects} objects, {_bytes(plan.size)}, of which gc can free {_bytes(plan.removed_size)}"
    return Finding("store", Status.OK, text, "run `adaptman store gc`" if plan.removals else "")


def _bytes(count: int) -> str:
    return f"{count / 10**9:.1f} GB" if count >= 10**8 else f"{count / 10**6:.1f} MB"


def _leases(workspace: Workspace) -> Finding:
    from adaptman.lifecycle.lease import is_over

    with workspace.registry.read() as reader:
        leases = reader.leases()
    dead = [lease for lease in leases if is_over(lease, workspace.clock())]
    if dead:
        since = f"{dead[0].heartbeat_at:%Y-%m-%d %H:%M} UTC"
        text = f"`{dead[0].holder}` holds a model line and gave no sign since {since}"
        return Finding("leases", Status.WARN, text, "nothing to do: the next update takes over")
    held = f"`{leases[0].holder}` is at work" if leases else "nobody is at work"
    return Finding("leases", Status.OK, held)


def _training(workspace: Workspace) -> Finding:
    """Versions that say they are in training while nobody works on their line."""
    from adaptman.lifecycle.lease import is_over
    from registry.states import VersionState

    with workspace.registry.read() as reader:
        busy = {lease.model_id for lease in reader.leases() if not is_over(lease, workspace.clock())}
        idle = [model for model in reader.models() if model.id not in busy]
        rows = [
            row for model in idle for row in reader.versions(model.id) if row.state is VersionState.TRAINING
        ]
    if not rows:
        return Finding("training", Status.OK, "no abandoned versions")
    numbers = ", ".join(str(row.number) for row in rows)
    text = f"version {numbers} is in training, but nobody is at work on it"
    return Finding("training", Status.WARN, text, "run `adaptman update run` again with the same inputs")


# what is reached from here


def _mlflow(settings: Settings, probes: Probes) -> Finding:
    uri = redacted(settings.tracking_uri)
    file = sqlite_file(settings.tracking_uri)
    if file is not None and not file.is_file():
        return Finding("mlflow", Status.OK, f"`{uri}` is made when there is something to tell")
    reason = probes.mlflow(settings.tracking_uri)
    if reason is None:
        return Finding("mlflow", Status.OK, f"`{uri}` answers")
    hint = "nothing else depends on it; what it must be told waits in the outbox for `adaptman lineage sync`"
    return Finding("mlflow", Status.WARN, redacted(reason), hint)


def why_not_connected(tracking_uri: str) -> str | None:
    """Why the tracking store cannot be reached, or `None` when it can."""
    from adaptman.lineage.client import connect

    try:
        connect(tracking_uri)
    except AdaptmanError as error:
        return error.message
    return None


def probe_mlflow(
    tracking_uri: str, *, seconds: float = PROBE_SECONDS, ask: Callable[[str], str | None] = why_not_connected
) -> str | None:
    """What `ask` says about the tracking store; after `seconds` it is not waited for any longer."""
    outcome: list[str | None] = []
    trial = threading.Thread(target=lambda: outcome.append(ask(tracking_uri)), daemon=True)
    trial.start()
    trial.join(seconds)
    return outcome[0] if outcome else f"`{tracking_uri}` did not answer within {seconds:g} s"


def _embedded(probes: Probes) -> Finding:
    try:
        path = probes.embedded_model()
    except AdaptmanError as error:
        return Finding("embedded model", Status.WARN, error.message, error.hint)
    return Finding("embedded model", Status.OK, f"`{path.name}`, {os.path.getsize(path) / 10**6:.0f} MB")


def _embedded_model() -> Path:
    from adaptman.learning.models import embedded_gguf

    return embedded_gguf()
