"""The strategies that `forgetting.py` compares: for each the recipe of an update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from adaptman.learning.recipe import Recipe

# Nothing but what the model says in general: from the beginning of a text, and from the user's header.
_PLAIN = {"chat": 2.0, "tools": 0.0, "irrelevant": 0.0}
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "none": {"replay": {"kind": "none"}},
    "none-same-steps": {"replay": {"kind": "none"}},
    "default": {},
    "self": {"replay": _PLAIN},
    "self-ce": {"replay": {**_PLAIN, "loss": "ce", "coeff": 1.0}},
    "tools-at-1": {"replay": {"tools_temperature": 1.0}},
    "self-prompted": {"replay": {"irrelevant": 0.0}},
    "self-irrelevant": {"replay": {"tools": 0.0}},
    "exemplar-1": {"replay": {"kind": "exemplar", "share": 0.01}},
    "exemplar-10": {"replay": {"kind": "exemplar", "share": 0.1}},
    "exemplar-all": {"replay": {"kind": "exemplar", "share": 1.0}},
    "opr-1": {"replay": {"kind": "opr", "share": 0.01}},
    "opr-10": {"replay": {"kind": "opr", "share": 0.1}},
    "ssr": {"replay": {"kind": "ssr", "share": 0.1}},
    "per-task": {"adapter": "fresh", "replay": {"kind": "none"}},
    "interpolated": {"interpolate": 0.5, "replay": {"kind": "none"}},
    "eaft": {"entropy_weight": True, "replay": {"kind": "none"}},
    "stm": {"mask_surprising": 2.5, "replay": {"kind": "none"}},
    "kl-new": {"kl_new": 1.0, "replay": {"kind": "none"}},
}
# Replay of what somebody wrote is plain cross entropy, and its rows are about twice as long as samples.
_STORED = {"loss": "ce", "coeff": 1.0, "batch_size": 2, "max_tokens": 192}
_IN_PLACE_OF_REPLAY = 2


class Plan(NamedTuple):
    """One run: a strategy at a learning rate, in a precision, with a seed."""

    strategy: str
    lr: float
    seed: int
    steps: int
    precision: str

    @property
    def name(self) -> str:
        return f"{self.strategy}-lr{self.lr:g}-steps{self.steps}-{self.precision}-seed{self.seed}"


def recipe_of(plan: Plan, *, first: bool = False, has_replay: bool = True) -> Recipe:
    """The strategy's recipe; where nothing can be replayed, as at first, new examples take the place.

    A first update has no earlier tools either, whatever their weight is.
    """
    values = {key: value for key, value in STRATEGIES[plan.strategy].items() if key != "replay"}
    chosen = dict(STRATEGIES[plan.strategy].get("replay", {}))
    if chosen.get("kind") in ("exemplar", "opr", "ssr"):
        chosen, has_replay = _STORED | chosen, has_replay and not first
    elif first:
        chosen |= {"tools": 0.0}
    nothing = chosen.get("kind") == "none" or not has_replay
    more = _IN_PLACE_OF_REPLAY * (nothing and plan.strategy != "none-same-steps")
    return Recipe.from_dict(
        {
            "steps": plan.steps, "batch_size": 4 + more, "lr": plan.lr, "seed": plan.seed,
            "precision": plan.precision, "checkpoint_every": 10**6,
            "replay": {"kind": "none"} if nothing else chosen, **values,
        }
    )  # fmt: skip
