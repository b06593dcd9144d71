"""Outbox rows as the registry writes them, for one model line with a base and two updates."""

from __future__ import annotations

from typing import Any, NamedTuple


class Row(NamedTuple):
    """One row of the outbox."""

    kind: str
    key: str
    payload: dict[str, Any]

    def of(self, model: str) -> Row:
        """The same row about another model line."""
        return self._replace(payload={**self.payload, "model": model})


MODEL = "shop"
BASE_DIGEST = "b" * 64
SCHEMA_DIGEST = "5" * 64
EXAMPLES_DIGEST = "e" * 64
REPLAY_DIGEST = "f" * 64
RECIPE = {
    "seed": 7,
    "lora": {"rank": 8, "targets": ["q_proj", "v_proj"]},
    "note": "x" * 9_000,
    "dropout": None,
}


def _about(number: int) -> dict[str, Any]:
    return {"model": MODEL, "version": number, "version_id": 10 + number}


def base(number: int = 1) -> Row:
    payload = {
        **_about(number),
        "base_digest": BASE_DIGEST,
        "base_source": "smollm2",
        "created_at": "2026-01-01T10:00:00.000000Z",
        "actor": "ada@host",
    }
    return Row("version.base", f"version.base:version/{MODEL}/{number}:aa", payload)


def trained(number: int, *, adapter: str, curves: str, replay: bool = True) -> Row:
    payload = {
        **_about(number),
        "parent": 1,
        "base_digest": BASE_DIGEST,
        "adapter_digest": adapter,
        "tool_schema": {"number": 2, "digest": SCHEMA_DIGEST, "document_digest": "6" * 64},
        "output_format": {"name": "hermes", "version": 1, "digest": "7" * 64},
        "recipe": RECIPE,
        "recipe_digest": "8" * 64,
        "example_set": {"digest": EXAMPLES_DIGEST, "count": 48},
        "replay_set": _replay() if replay else None,
        "curves_digest": curves,
        "summary": {"steps": 120, "loss": {"last": 0.25}, "device": "cpu"},
        "started_at": "2026-01-02T10:00:00.000000Z",
        "finished_at": "2026-01-02T10:05:00.000000Z",
        "actor": "ada@host",
    }
    return Row("version.trained", f"version.trained:version/{MODEL}/{number}:bb", payload)


def _replay() -> dict[str, Any]:
    report: dict[str, Any] = {"kept": 90, "rejected": {"too_short": 10}, "temperature": 1.0, "teacher": "v1"}
    report["tools"] = {"read_mail": 0, "send_mail": 3}
    return {"digest": REPLAY_DIGEST, "count": 90, "tokens": 4_000, "report": report}


def suite_run(number: int, suite: str = "target", value: float = 0.75, at: str = "10:06") -> Row:
    payload = {
        **_about(number),
        "suite": suite,
        "kind": "target",
        "suite_digest": "9" * 64,
        "metric": "accuracy",
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "n": 48,
        "duration_s": 12.5,
        "outputs_digest": None,
        "created_at": f"2026-01-02T{at}:00.000000Z",
    }
    return Row("suite_run.recorded", f"suite_run.recorded:version/{MODEL}/{number}:{suite}:{at}", payload)


def decision(number: int, verdict: str = "pass", at: str = "10:07") -> Row:
    payload = {
        **_about(number),
        "champion": 1,
        "policy": "default",
        "policy_digest": "a" * 64,
        "verdict": verdict,
        "reasons": [{"suite": "target", "rule": "gain", "passed": True, "text": "target: 0.00 → 0.75"}],
        "created_at": f"2026-01-02T{at}:00.000000Z",
    }
    return Row("decision.recorded", f"decision.recorded:version/{MODEL}/{number}:{at}", payload)


def moved(number: int, previous: int | None, cause: str = "promote", at: str = "10:08") -> Row:
    payload = {
        **_about(number),
        "previous": previous,
        "cause": cause,
        "waiver": None,
        "actor": "ada@host",
        "at": f"2026-01-02T{at}:00.000000Z",
    }
    return Row("champion.moved", f"champion.moved:version/{MODEL}/{number}:{at}", payload)


def capacity(number: int, verdict: str = "room", at: str = "10:10") -> Row:
    payload = {
        **_about(number),
        "verdict": verdict,
        "room_bits": 5_000.4,
        "low": 4_000.0,
        "high": 6_500.0,
        "figures": {"bits_16": 600.0, "noise_rise": 0.02},
        "report_digest": "e" * 64,
        "actor": "ada@host",
        "at": f"2026-01-02T{at}:00.000000Z",
    }
    return Row("capacity.audited", f"capacity.audited:version/{MODEL}/{number}:{at}", payload)


def ended(number: int, state: str = "discarded", at: str = "10:09") -> Row:
    payload = {
        **_about(number),
        "state": state,
        "reason": "nobody wants it",
        "actor": "ada@host",
        "at": f"2026-01-02T{at}:00.000000Z",
    }
    return Row("version.ended", f"version.ended:version/{MODEL}/{number}:{at}", payload)


def standing(
    champion: int | None, previous: int | None = None, challenger: int | None = None
) -> dict[str, int | None]:
    """Where the aliases belong, as the outbox hands it to the mirror."""
    return {"champion": champion, "previous": previous, "challenger": challenger}
