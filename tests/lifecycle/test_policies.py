"""Policies by name and by file."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptman.errors import WorkspaceError
from adaptman.lifecycle.policies import find_policy, policy_source, read_policy
from policies.errors import PolicyError


def test_built_in_and_file_are_told_apart_by_their_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = policy_source("default")
    Path("default.yaml").write_text(source.text.replace("name: default", "name: ours"))
    assert find_policy("default").name == "default"
    assert find_policy("default.yaml").name == find_policy("./default.yaml").name == "ours"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(WorkspaceError, match="cannot be read"):
            read_policy(path)


def test_a_file_that_never_ends() -> None:
    with pytest.raises(PolicyError):
        read_policy(Path("/dev/zero"))


def test_a_file_extends_another_by_its_path_from_there(tmp_path: Path) -> None:
    (tmp_path / "teams").mkdir()
    (tmp_path / "house.yaml").write_text("extends: default\nname: house\nrules: {general: {margin: 0.04}}\n")
    ours = tmp_path / "teams" / "ours.yaml"
    ours.write_text("extends: ../house.yaml\nname: ours\nrules: {tools: {missing: refuse}}\n")
    found = find_policy(str(ours))
    assert (found.name, found.rules["general"].margin, found.rules["tools"].margin) == ("ours", 0.04, 0.10)
    assert found.rules["tools"].missing == "refuse"
    ours.write_text("extends: ../gone.yaml\nname: ours\n")
    with pytest.raises(WorkspaceError, match=r"`.*gone\.yaml` cannot be read"):
        find_policy(str(ours))
    ours.write_text("extends: ../teams/ours.yaml\nname: ours\n")
    with pytest.raises(PolicyError, match="cannot extend itself"):
        find_policy(str(ours))
