"""The recipe: every hyper-parameter and seed of an update, its digest part of the version's identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import operator
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_type_hints

from adaptman.errors import TrainingError

T = TypeVar("T")

_FINITE = sys.float_info.max
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "steps": (1, _FINITE),
    "batch_size": (1, _FINITE),
    "lr": (0, _FINITE),
    "warmup": (0, 1),
    "lr_floor": (0, 1),
    "weight_decay": (0, _FINITE),
    "max_grad_norm": (0, _FINITE),
    "max_length": (1, _FINITE),
    "checkpoint_every": (1, _FINITE),
    "seed": (0, 2**32 - 1),
    "interpolate": (0, 1),
    "kl_new": (0, _FINITE),
    "mask_surprising": (0, _FINITE),
    "lora.rank": (1, 2**16),
    "lora.alpha": (1, 2**16),
    "replay.coeff": (0, _FINITE),
    "replay.share": (0, 1),
    "replay.top_k": (1, _FINITE),
    "replay.free": (0, _FINITE),
    "replay.chat": (0, _FINITE),
    "replay.tools": (0, _FINITE),
    "replay.tools_temperature": (0.01, 100),
    "replay.irrelevant": (0, _FINITE),
}


_TARGETS = 'name the layers: `--set lora.targets=\'["q_proj", "v_proj"]\'`'
STORED = ("opr", "ssr", "exemplar")
"""Kinds of replay that are made of earlier updates' examples."""


@dataclass(frozen=True)
class LoraRecipe:
    """The low-rank adapter (Hu et al., arXiv 2106.09685)."""

    rank: int = 16
    """Rank of each adapted matrix. An adapter that goes on keeps its rank, alpha and targets; the record
    has those, and another value is refused."""
    alpha: int = 32
    """Scale: the adapter's product is multiplied with alpha / rank."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Names of the linear modules that are adapted."""


@dataclass(frozen=True)
class ReplayRecipe:
    """What stands beside the new examples, so that the model stays what it was."""

    kind: Literal["self", "opr", "ssr", "exemplar", "none"] = "self"
    """`self`: samples of the version the update starts from (Marek et al., arXiv 2605.26097); `opr`: its own
    right answers to a share of the earlier requests (arXiv 2605.29495); `ssr`: requests that the base writes
    from a few earlier ones, and its answers (arXiv 2403.01244); `exemplar`: a share of the earlier examples
    themselves; `none`: no replay."""
    loss: Literal["kl", "ce"] = "kl"
    """`kl`: KL(old model ‖ new model) over the sample; `ce`: next-token loss on the sample."""
    coeff: float = 10.0
    """Weight of the replay loss beside the loss on new examples."""
    samples: int = 144
    """Samples of `self` and `ssr` drawn before training starts, or fewer where training would not see them
    all."""
    share: float = 0.1
    """Part of each earlier update's examples that `exemplar` replays, `opr` answers and `ssr` begins from."""
    batch_size: int = 4
    """Samples replayed at each step."""
    max_tokens: int = 64
    """Longest sample, in tokens that the model generates; under earlier tools its answer may have twice as
    many."""
    top_k: int = 64
    """Teacher log-probabilities kept a token, for `kl_new` too; the rest of the mass is one class."""
    teacher: Literal["cached", "live"] = "cached"
    """Of the KL: `cached`: the `top_k` kept while sampling; `live`: the old model runs again, its whole
    vocabulary counts."""
    mix: Literal["add", "replace"] = "add"
    """`add`: replay beside `batch_size` new examples; `replace`: in the place of some of them."""
    free: float = 1.0
    """Weight of samples from the beginning-of-sequence token alone (the paper's)."""
    chat: float = 1.0
    """Weight of samples from the chat template's user turn: question, then answer (arXiv 2406.08464)."""
    tools: float = 3.0
    """Weight of samples under earlier tool documents, for tools that the update leaves unchanged. Where it
    changes the output format, their calls are rewritten in it and learned as new examples are."""
    tools_temperature: float = 0.5
    """Of the samples under earlier tools; the others are drawn at 1 (the paper's). At 1 a small model's
    requests and calls are more often nonsense, and dropped; what it is held to is its own at 1 everywhere."""
    irrelevant: float = 2.0
    """Weight of requests that no tool fits, made without tools, then answered in words under one of them."""


@dataclass(frozen=True)
class Recipe:
    """How an update is trained."""

    steps: int = 36
    """Optimiser steps."""
    batch_size: int = 4
    """New examples at each step."""
    lr: float = 5e-4
    """Peak learning rate of AdamW."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises from zero; then it falls linearly to `lr_floor`."""
    lr_floor: float = 0.1
    """Learning rate at the last step, as a share of the peak."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    max_length: int = 1024
    """Longest example in tokens; a longer one is an error, never cut."""
    checkpoint_every: int = 10
    """Steps between checkpoints, from which a run that died goes on."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the matrix products; weights, gradients and optimiser are fp32 in both. `bf16` pays where the
    processor multiplies it (AVX-512 BF16, AMX); on another one it takes several times as
    long."""
    gradient_checkpointing: bool = False
    """Compute each layer again on the way back in place of keeping its results (arXiv 1604.06174): the same
    weights from less memory, in more time. For long examples and large models."""
    seed: int = 0
    """Seed of initialisation, order and sampling."""
    kl_new: float = 0.0
    """Weight of KL(old model ‖ new model) on the answers of the new examples (the paper's `kl_dwn`)."""
    entropy_weight: bool = False
    """Weigh each new token by the entropy of the 20 most likely ones (EAFT, arXiv 2601.02151)."""
    mask_surprising: float = 0.0
    """New tokens whose perplexity under the old model is above this are not learned (STM, arXiv 2501.14315,
    there 2.5); 0: all are."""
    adapter: Literal["continue", "grow", "fresh", "full"] = "continue"
    """`continue`: the parent's adapter goes on; `grow`: it is widened to `lora.rank` first; `fresh`: a new
    one from the checkpoint under it, for this update alone, which is then the old model of `kl_new` and
    `mask_surprising`; `full`: none, all weights are trained (choose a smaller `lr`), and the version is a
    checkpoint of its own."""
    interpolate: float = 1.0
    """After training, parameters this far from the parent's to the tuned ones (WiSE-FT, arXiv 2109.01903)."""
    lora: LoraRecipe = field(default_factory=LoraRecipe)
    """The adapter."""
    replay: ReplayRecipe = field(default_factory=ReplayRecipe)
    """The replay."""

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = operator.attrgetter(name)(self)
            if not least <= value <= most:
                limit = (
                    f"at least {least}"
                    if value < least
                    else f"at most {most}"
                    if most < _FINITE
                    else "finite"
                )
                raise TrainingError(f"recipe: `{name}` is {value}, must be {limit}")
        if 0 < self.mask_surprising <= 1:
            raise TrainingError(
                f"recipe: `mask_surprising` is {self.mask_surprising}, and no token's perplexity is below 1",
                hint="choose a value above 1, such as 2.5, or 0 to learn all tokens",
            )
        if not (self.lr > 0 and self.max_grad_norm > 0):
            raise TrainingError("recipe: `lr` and `max_grad_norm` must be above 0")
        if not self.lora.targets:
            raise TrainingError("recipe: `lora.targets` names no layer", hint=_TARGETS)
        replay = self.replay
        if replay.kind in STORED and replay.share == 0:
            raise TrainingError(
                "recipe: `replay.share` is 0, and nothing would be replayed",
                hint="train without replay with `replay.kind=none`",
            )
        if replay.kind != "none" and min(replay.samples, replay.batch_size, replay.max_tokens) < 1:
            raise TrainingError(
                "recipe: `replay.samples`, `batch_size` and `max_tokens` must be at least 1",
                hint="train without replay with `replay.kind=none`",
            )
        if replay.kind == "self" and not replay.free + replay.chat + replay.tools + replay.irrelevant > 0:
            raise TrainingError(
                "recipe: the weights `replay.free`, `chat`, `tools` and `irrelevant` are all 0"
            )
        self._check_teacher()
        if replay.kind != "none" and replay.mix == "replace" and replay.batch_size >= self.batch_size:
            raise TrainingError(
                f"recipe: `replay.batch_size` {replay.batch_size} leaves no room for new examples in "
                f"`batch_size` {self.batch_size}",
                hint="replay fewer samples a step, or beside the new examples with `replay.mix=add`",
            )

    def _check_teacher(self) -> None:
        """A new adapter starts from the checkpoint, which is no teacher of what was learned since."""
        replay = self.replay
        if self.adapter != "fresh" or replay.kind == "none":
            return
        if replay.teacher == "live":
            raise TrainingError(
                "recipe: with `adapter=fresh` training starts from the checkpoint, not from the version "
                "whose answers are replayed, which alone is their teacher",
                hint="keep the teacher's predictions: `--set replay.teacher=cached`",
            )
        if replay.kind == "exemplar" and replay.loss == "kl":
            raise TrainingError(
                "recipe: with `adapter=fresh` training starts from the checkpoint, which has not learned the "
                "earlier examples and is no teacher of them",
                hint="learn their answers again: `--set replay.loss=ce`",
            )

    @property
    def new_batch_size(self) -> int:
        """New examples at each step: replay that replaces takes some of their places."""
        replaces = self.replay.kind != "none" and self.replay.mix == "replace"
        return self.batch_size - self.replay.batch_size * replaces

    def drawn(self, declined: float = 0.0) -> ReplayRecipe:
        """The replay recipe with no more samples than all steps together see.

        `declined` is the share of the new examples that show tools and call none: what is answered where no
        tool fits is then what the update changes, and so much less of the old answers is replayed.
        """
        seen = self.steps * self.replay.batch_size
        return dataclasses.replace(
            self.replay,
            samples=min(self.replay.samples, seen),
            irrelevant=self.replay.irrelevant * (1 - declined),
        )

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(self))))

    @property
    def changed(self) -> dict[str, Any]:
        """Settings, dotted, that are not the default."""
        own, default = _flat(self.to_dict()), _flat(Recipe().to_dict())
        return {name: value for name, value in own.items() if value != default[name]}

    @property
    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe from JSON values; what is absent takes its default.

        Raises:
            TrainingError: a key that no recipe has, or a value of another type.
        """
        return _build(cls, values, "recipe")

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe of a version on record: a source of replay that there was not at its time gives nothing,
        and samples were drawn at temperature 1.

        Raises:
            TrainingError: a key that no recipe has, or a value of another type.
        """
        unknown_then = {"irrelevant": 0.0, "tools_temperature": 1.0}
        return cls.from_dict({**values, "replay": {**unknown_then, **values.get("replay", {})}})

    def with_settings(self, settings: Mapping[str, str]) -> Recipe:
        """The recipe with dotted settings replaced, such as `{"replay.coeff": "3"}`.

        Raises:
            TrainingError: an unknown setting, or a value that does not fit.
        """
        values = self.to_dict()
        for dotted, text in settings.items():
            target, name = _walk(values, dotted)
            target[name] = _parse(text)
        return Recipe.from_dict(values)


def _walk(values: dict[str, Any], dotted: str) -> tuple[dict[str, Any], str]:
    *parents, name = dotted.split(".")
    target: Any = values
    for parent in parents:
        target = target.get(parent) if isinstance(target, dict) else None
    if not isinstance(target, dict) or name not in target or isinstance(target[name], dict):
        known = ", ".join(f"`{key}`" for key in _flat(values))
        raise TrainingError(f"recipe: no setting is called `{dotted}`", hint=f"the settings are {known}")
    return target, name


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    hints = get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            raise TrainingError(
                f"{where}: no setting is called `{key}`", hint=f"the settings are {', '.join(hints)}"
            )
        arguments[key] = _coerce(hints[key], value, f"{where}.{key}")
    return cls(**arguments)


def _coerce(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise TrainingError(f"{where}: a mapping was expected, found {value!r}")
        return _build(hint, value, where)
    origin = typing.get_origin(hint)
    if origin is Literal:
        if value not in typing.get_args(hint):
            raise TrainingError(f"{where} is {value!r}, must be one of {', '.join(typing.get_args(hint))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise TrainingError(f"{where}: a list of names was expected, found {value!r}", hint=_TARGETS)
        return tuple(value)
    wanted = (int, float) if hint is float else hint
    if not isinstance(value, wanted) or isinstance(value, bool) != (hint is bool):
        expected = "true or false" if hint is bool else hint.__name__
        raise TrainingError(f"{where}: {expected} was expected, found {value!r}")
    try:
        return hint(value)
    except OverflowError:
        raise TrainingError(f"{where}: the number is too large") from None
