"""MLflow opened quietly: without its notices, its telemetry or its long retries."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from adaptman.errors import LineageError
from adaptman.lineage.errors import StoreDownError
from adaptman.lineage.names import public_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

Connect = Callable[[str], "MlflowClient"]

PROBE_TIMEOUT_S = 4

_QUIET = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_SHORT = {
    # MLflow's own is 120 s: a dead server would be waited for for half an hour.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "PGCONNECT_TIMEOUT": "5",
}
_ONCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
_PROBE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(PROBE_TIMEOUT_S), **_ONCE}

SUPPORTED = ("http", "https", "sqlite", "postgresql")
_NO_ANSWER = re.compile(r"failed with (timeout )?exception|error code (429|50[234])\b")
"""How MLflow words that a call found nobody, or nobody who would listen now."""

_global_uri = threading.Lock()


def is_server(tracking_uri: str) -> bool:
    """True for a tracking server, False for a database."""
    return tracking_uri.startswith(("http://", "https://"))


def connect(tracking_uri: str) -> MlflowClient:
    """A client of the store at `tracking_uri`; a new database gets its tables.

    Raises:
        LineageError: it is no kind of store that is supported.
        StoreDownError: nothing answers there, or its schema is of another age.
    """
    check_uri(tracking_uri)
    _hush()
    try:
        return _opened(tracking_uri)
    except Exception as error:
        raise _unreachable(tracking_uri, error) from error


def check_uri(tracking_uri: str) -> None:
    """Refuse a store that was never tried.

    Raises:
        LineageError: the message names its scheme, the hint what is supported.
    """
    scheme = tracking_uri.partition("://")[0].partition("+")[0]
    if "://" in tracking_uri and scheme in SUPPORTED:
        return
    kind = tracking_uri.partition(":")[0]
    why = {
        "databricks": "`databricks` was never tried",
        "postgres": "MLflow does not know `postgres:`",
    }.get(kind, f"MLflow at `{public_uri(tracking_uri)}` is no store that can be told")
    hint = (
        "set `tracking_uri` to a server (`http://…`, `https://…`) or a database (`sqlite:///…`, `postgresql://…`)"
        "; folders of files are refused by MLflow 3 itself"
    )
    raise LineageError(why, hint=hint)


@contextmanager
def each_call_once() -> Iterator[None]:
    """MLflow's own retries switched off.

    They repeat a call whose answer was lost, which makes a second run or version. The outbox looks first.
    """
    with _environment(_ONCE):
        yield


def is_no_answer(error: BaseException) -> bool:
    """Whether a call failed because nobody answered it, or asked to be left alone for now."""
    return _NO_ANSWER.search(str(error)) is not None


def answers(client: MlflowClient) -> bool:
    """Whether the store behind `client` answers a small question within seconds."""
    try:
        with _environment(_PROBE):
            client.search_experiments(max_results=1)
    except Exception:
        return False
    return True


@contextmanager
def global_uri(tracking_uri: str) -> Iterator[None]:
    """MLflow's global tracking URI set to `tracking_uri` and back.

    A database store looks up `models:/…` with the global URI instead of its own, and would otherwise make a
    `mlflow.db` in the working directory and find nothing in it.
    """
    import mlflow

    with _global_uri:
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(tracking_uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)


def _hush() -> None:
    for name, value in {**_QUIET, **_SHORT}.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"mlflow(\.|$)")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _opened(tracking_uri: str) -> MlflowClient:
    import mlflow

    _hush()  # importing mlflow sets its loggers' levels
    if not is_server(tracking_uri):
        _make_database(tracking_uri)
        _check_database(tracking_uri)
    client = mlflow.MlflowClient(tracking_uri, registry_uri=tracking_uri)
    with _environment(_PROBE):
        client.search_experiments(max_results=1)
    return client


def _make_database(tracking_uri: str) -> None:
    """A SQLite file that is not there yet, made beside its place and put there whole.

    MLflow makes its tables in many steps: killed among them, it leaves a file that no MLflow opens.
    """
    scheme, _, rest = tracking_uri.partition(":///")
    name = rest.partition("?")[0]
    if scheme.partition("+")[0] != "sqlite" or name in ("", ":memory:"):
        return
    path = Path(name)
    if path.exists() or not path.parent.is_dir():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        store = SqlAlchemyStore(f"sqlite:///{fresh}", str(path.parent / "mlartifacts"))
        store.engine.dispose()
        try:
            os.link(fresh, path)
        except FileExistsError:  # somebody else was faster
            return
        except OSError:  # a file system without hard links
            fresh.replace(path)


def _check_database(tracking_uri: str) -> None:
    """One try to connect, since MLflow itself makes fifteen and sleeps between them for half an hour."""
    from mlflow.store.db.utils import create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(tracking_uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _unreachable(tracking_uri: str, error: Exception) -> StoreDownError:
    uri = public_uri(tracking_uri)
    if "out-of-date database schema" in str(error):
        return StoreDownError(
            f"the MLflow database `{uri}` was made by another version of MLflow",
            hint=f"back it up, then run `mlflow db upgrade {uri}`",
        )
    return StoreDownError(
        f"MLflow does not answer at `{uri}`: {reason(error, tracking_uri)}",
        hint="nothing is lost: `adaptman lineage sync` delivers once it answers again",
    )


def reason(error: BaseException, tracking_uri: str) -> str:
    """The first line of what MLflow said, short and without a password."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].replace(tracking_uri, public_uri(tracking_uri))[:300].rstrip(".")
