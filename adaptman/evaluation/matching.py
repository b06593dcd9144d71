"""Whether a free-text reply holds an answer, whatever its case, spacing and punctuation."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Match = Literal["contains", "exact", "normalized"]

# Written without spaces between words, so that every character is a word of its own.
_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af])")
_GROUPED_DIGITS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_APOSTROPHES = re.compile(r"(?<=\w)['’](?=\w)")


def matches(reply: str, answer: str, match: Match) -> bool:
    """Is `answer` the reply (`exact`, `normalized`), or does it stand in it as whole words (`contains`)?"""
    if match == "exact":
        return reply.strip() == answer.strip()
    found, wanted = normalized(reply), normalized(answer)
    if match == "normalized":
        return found == wanted
    return bool(wanted) and f" {wanted} " in f" {found} "


def normalized(text: str) -> str:
    """Lower-case words with one space between them; "" where the text holds no letter or digit.

    A figure stays one word, with its decimal point and its minus sign (`-3.5`), and thousands lose their
    comma, so that `5` is not found in `-5`, `2.5` or `5,000`. `C++` and `C#` stay apart from `C`.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    text = _APOSTROPHES.sub("", _GROUPED_DIGITS.sub("", text))
    kept = (char if _kept(text, place) else " " for place, char in enumerate(text))
    words = _UNSPACED.sub(r" \1 ", "".join(kept)).split()
    return " ".join(word for word in words if any(char.isalnum() for char in word))


def _kept(text: str, place: int) -> bool:
    char = text[place]
    if unicodedata.category(char)[0] in "LNM":
        return True
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if char == ".":
        return before.isdecimal() and after.isdecimal()
    if char == "-":
        return after.isdecimal() and not before.isalnum()
    return char in "+#" and (before.isalpha() or before == char)
