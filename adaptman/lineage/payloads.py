"""What the outbox says, read into values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptman.lineage.names import MAX_DATASET_DIGEST

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

Payload = Mapping[str, Any]


@dataclass(frozen=True)
class Version:
    """A version of a model line: its number there and its id in the registry."""

    model: str
    number: int
    id: int

    @classmethod
    def of(cls, payload: Payload) -> Version:
        """The version that a payload is about."""
        return cls(model=payload["model"], number=int(payload["version"]), id=int(payload["version_id"]))

    @property
    def key(self) -> str:
        """What its run, logged model and registered version are found by."""
        return f"version/{self.number}"

    @property
    def name(self) -> str:
        """`v3`."""
        return f"v{self.number}"

    @property
    def tags(self) -> dict[str, object]:
        """The way back to the registry."""
        return {"model": self.model, "version": self.number, "version_id": self.id}


@dataclass(frozen=True)
class DataSet:
    """A content-addressed data set; `rows` is how many examples, samples or cases it holds."""

    name: str
    digest: str
    rows: int
    context: str

    @property
    def short_digest(self) -> str:
        """As much of the sha256 as MLflow takes for a digest."""
        return self.digest[:MAX_DATASET_DIGEST]

    def as_input(self) -> DatasetInput:
        """As MLflow takes it; the whole sha256 stands in the source, the profile and a tag."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=self.name,
            digest=self.short_digest,
            source_type="adaptman",
            source=json.dumps({"sha256": self.digest}),
            profile=json.dumps({"num_rows": self.rows, "sha256": self.digest}),
        )
        tags = [InputTag("mlflow.data.context", self.context), InputTag("adaptman.sha256", self.digest)]
        return DatasetInput(dataset, tags)
