"""How calls are written and read back. Rendering and parsing are inverse to one another.

One file each: Hermes, Llama 3 JSON, Mistral (two layouts), pythonic, Gemma, and own ones given in YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adaptman.errors import ToolDocumentError
from adaptman.toolspec.formats.base import OutputFormat, Reply, ToolCall
from adaptman.toolspec.formats.gemma import GemmaFormat
from adaptman.toolspec.formats.hermes import HermesFormat
from adaptman.toolspec.formats.llama import LlamaFormat
from adaptman.toolspec.formats.mistral import MISTRAL_LIST, MISTRAL_NAMED
from adaptman.toolspec.formats.pythonic import PythonicFormat

__all__ = [
    "BUILTIN",
    "OutputFormat",
    "Reply",
    "ToolCall",
    "output_format",
    "own_from_text",
    "recorded_format",
]

BUILTIN: Mapping[str, OutputFormat] = {
    one.name: one
    for one in (HermesFormat(), LlamaFormat(), MISTRAL_LIST, MISTRAL_NAMED, PythonicFormat(), GemmaFormat())
}
"""The formats that need no file."""


def output_format(name: str) -> OutputFormat:
    """The built-in output format of that name.

    Raises:
        ToolDocumentError: there is none; the hint names those that there are.
    """
    if name not in BUILTIN:
        known = ", ".join(f"`{one}`" for one in BUILTIN)
        raise ToolDocumentError(
            f"there is no output format `{name}`", hint=f"known ones: {known}, or a file in YAML"
        )
    return BUILTIN[name]


def own_from_text(text: str, origin: str) -> OutputFormat:
    """The format that a file in YAML describes.

    Raises:
        ToolDocumentError: it describes none, an ambiguous one, or one with a built-in's name.
    """
    from adaptman.toolspec.formats.own_file import read_own_format

    made = read_own_format(text, origin)
    if made.name in BUILTIN:
        raise ToolDocumentError(
            f"`{origin}`: `{made.name}` is the name of a built-in output format", hint="choose another name"
        )
    return made


def recorded_format(name: str, version: int, spec: Mapping[str, Any], digest: str) -> OutputFormat:
    """The format that a registry's row tells of: an own one is made from `spec`, a built-in one compared.

    Raises:
        ToolDocumentError: this adaptman writes calls otherwise than the row says.
    """
    made = _from_spec(name, version, spec)
    if made.digest != digest:
        raise ToolDocumentError(
            f"output format `{name}` version `{version}` is on record with digest `{digest[:12]}`, "
            f"and this adaptman's has `{made.digest[:12]}`",
            hint="use the release of adaptman that taught the model this format",
        )
    return made


def _from_spec(name: str, version: int, spec: Mapping[str, Any]) -> OutputFormat:
    if spec.get("kind") != "own":
        return output_format(name)
    from adaptman.toolspec.formats.own_file import own_format

    fields = {key: value for key, value in spec.items() if key != "kind"}
    return own_format(fields, f"output format {name}/{version}")
