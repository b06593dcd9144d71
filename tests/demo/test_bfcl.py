"""The demo's cases are the leaderboard's of one tool and one call."""

from __future__ import annotations

from adaptman.demo import bfcl


def test_simple_python_is_read_whole(bfcl_wheel: str) -> None:
    cases = bfcl.simple_python()
    assert len(cases) == 400
    triangle = cases[0]
    assert triangle.question == "Find the area of a triangle with a base of 10 units and height of 5 units."
    assert triangle.name == "calculate_triangle_area"
    assert triangle.parameters["type"] == "object"
    assert triangle.accept == {"base": [10], "height": [5], "unit": ["units", ""]}
