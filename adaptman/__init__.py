"""Keep one tool-calling language model up to date through every change of its tools.

The distribution `adaptman` brings three import packages: this one, `registry` and `policies`. The last two
have common names, so before anything else runs it is made sure that they are the ones that came along.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec

__version__ = "0.1.0"
__distribution__ = "adaptman"


def _check_sibling(name: str) -> None:
    """Raise ImportError unless the package `name` that Python finds first is adaptman's own.

    The marker is asked for, not the place, so that a checkout, an editable install and a wheel all pass.
    """
    spec = find_spec(name)
    if spec is None:
        raise ImportError(
            f"the package `{name}`, which comes with adaptman, is missing\n\nhint: install adaptman again",
            name=name,
        )
    try:
        marker = getattr(importlib.import_module(name), "__distribution__", None)
    except Exception:  # a stranger's package may fail in any way of its own
        marker = None
    if marker != __distribution__:
        place = spec.origin or next(iter(spec.submodule_search_locations or ()), "an unknown place")
        raise ImportError(
            f"the package `{name}` found at `{place}` is not the one that comes with adaptman\n\n"
            "hint: another package of that name comes first on the path; start from another folder, "
            "or install adaptman into an environment of its own",
            name=name,
            path=place,
        )


for _name in ("registry", "policies"):
    _check_sibling(_name)
