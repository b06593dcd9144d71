"""Tells MLflow what an outbox row says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adaptman.errors import AdaptmanError, LineageError
from adaptman.lineage.audit import Difference, Line, audit
from adaptman.lineage.books import Books
from adaptman.lineage.client import Connect, answers, connect, each_call_once, is_no_answer, reason
from adaptman.lineage.errors import StoreDownError
from adaptman.lineage.judgements import (
    deliver_capacity,
    deliver_champion,
    deliver_decision,
    deliver_ended,
    deliver_suite_run,
    point,
)
from adaptman.lineage.names import public_uri
from adaptman.lineage.versions import deliver_base, deliver_trained

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from adaptman.artifacts.store import ObjectStore


class Mirror:
    """One MLflow store as the mirror of one registry.

    `owner` identifies the registry, so that two of them cannot write the same experiment by accident. Nothing
    is opened before the first delivery.
    """

    def __init__(
        self,
        tracking_uri: str,
        store: ObjectStore,
        artifact_location: str | None = None,
        *,
        owner: str = "",
        connect: Connect = connect,
    ) -> None:
        self.tracking_uri = tracking_uri
        self._store = store
        self._artifact_location = artifact_location
        self._owner = owner
        self._connect = connect

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client.

        Raises:
            StoreDownError: nothing answers.
        """
        return self._connect(self.tracking_uri)

    @cached_property
    def _books(self) -> Books:
        return Books(
            self.client, self.tracking_uri, artifact_location=self._artifact_location, owner=self._owner
        )

    def deliver(self, kind: str, key: str, payload: Mapping[str, Any]) -> dict[str, str]:
        """Tell MLflow one thing; what it has heard before is not doubled. Returns MLflow's ids.

        What it has no place for is said to be so in the result, and holds up nothing.

        Raises:
            StoreDownError: the store does not answer.
            LineageError: the store answers and refuses this.
            ArtifactError: an object that is to be shown in MLflow is missing or damaged.
        """
        with self._explained(f"could not be told `{key}`") as books:
            return self._dispatch(books, kind, key, payload)

    def point(self, model: str, standing: Mapping[str, int | None]) -> dict[str, str]:
        """Set a line's aliases to these versions, in this order; the result has MLflow's numbers.

        Raises:
            StoreDownError: the store does not answer.
            LineageError: the store answers and refuses this.
        """
        with self._explained(f"could not be told the aliases of `{model}`") as books:
            return point(books, model, standing)

    def differences(self, line: Line, *, deep: bool = False) -> list[Difference]:
        """Where MLflow differs from what it was told of one model line; `deep` reads the adapters' files.

        Raises:
            LineageError: MLflow cannot be asked.
            ArtifactError: an adapter's list of files cannot be read from the object store.
        """
        with self._explained(f"could not be asked about `{line.model}`") as books:
            return list(audit(books, self._store, line, deep=deep))

    @contextmanager
    def _explained(self, what: str) -> Iterator[Books]:
        books = self._books
        try:
            with each_call_once():
                yield books
        except AdaptmanError:
            raise
        except Exception as error:
            raise self._explain(what, error) from error

    def _dispatch(self, books: Books, kind: str, key: str, payload: Mapping[str, Any]) -> dict[str, str]:
        match kind:
            case "version.trained":
                return deliver_trained(books, self._store, payload)
            case "version.base":
                return deliver_base(books, payload)
            case "suite_run.recorded":
                return deliver_suite_run(books, key, payload)
            case "decision.recorded":
                return deliver_decision(books, key, payload)
            case "capacity.audited":
                return deliver_capacity(books, payload)
            case "champion.moved":
                return deliver_champion(books, payload)
            case "version.ended":
                return deliver_ended(books, payload)
        return {"not_mirrored": kind}

    def _explain(self, what: str, error: Exception) -> LineageError:
        """Tell a store that is down from one that refuses: the second still answers a small question."""
        said = f"{type(error).__name__}: {reason(error, self.tracking_uri)}"
        if not is_no_answer(error) and answers(self.client):
            return LineageError(f"MLflow {what}: {said}")
        return StoreDownError(
            f"MLflow does not answer at `{public_uri(self.tracking_uri)}` any more: {said}",
            hint="nothing is lost: `adaptman lineage sync` delivers once it answers again",
        )
