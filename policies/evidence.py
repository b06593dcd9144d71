"""What a policy judges by: one suite, as the candidate and, where there is one, the champion answered it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

_OF_CHANGES = ("stale", "champion_stale")


class SuiteEvidence(BaseModel):
    """One suite's figures. Everything that needs a champion is None where there is nothing to compare with.

    `difference`, `low` and `high` are candidate − champion in the metric's own unit, whichever direction is
    better; `low` and `high` are the two-sided interval at `confidence`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    suite: str
    kind: str
    suite_digest: str
    metric: str
    higher_is_better: bool
    n: Annotated[int, Field(ge=0)]
    """Cases answered by the candidate."""
    candidate: float
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    broke: int | None = None
    """Cases the candidate scored worse on."""
    mended: int | None = None
    """Cases the candidate scored better on."""
    p_non_inferior: float | None = None
    """One-sided p-value of "worse by the rule's margin or more"."""
    p_superior: float | None = None
    """One-sided p-value of "not better"."""
    detectable_drop: float | None = None
    """The smallest true worsening that the suite shows with 80 % power."""
    cases_needed: int | None = None
    """The cases that suffice for the rule's margin."""
    method: str | None = None
    unanswered: Annotated[int, Field(ge=0)] = 0
    """Cases that were not asked any more; the figures are those of the others, answered by both."""
    settled_under: str | None = None
    """The digest of the policy that refuses the suite whatever the unanswered cases would have given."""
    stale: dict[str, tuple[int, int]] | None = None
    """By rule of the change that a case was made from: the candidate's stale replies, and the cases."""
    champion_stale: dict[str, tuple[int, int]] | None = None
    """The same of the champion."""

    @model_serializer(mode="wrap")
    def _without_what_no_suite_asked(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = plain(self)
        return {name: value for name, value in told.items() if value is not None or name not in _OF_CHANGES}
