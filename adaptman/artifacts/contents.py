"""Which files may be part of a tree: plain data by name and by content, at a path inside it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from adaptman.errors import ArtifactError

SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".jinja", ".jsonl", ".md", ".model"})
# A pickle of protocol 2 or later, and the zip archive that `torch.save` writes.
PICKLE, ZIP = b"\x80", b"PK\x03\x04"
SAVE = "save weights as safetensors"
LARGEST_HEADER = 100_000_000  # the limit of the safetensors format


def check_contents(name: str, path: Path) -> None:
    """Refuse a file that may run code when it is read, or whose name does not say what it is.

    Raises:
        ArtifactError: names the file and what is taken instead.
        OSError: it cannot be read.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ArtifactError(
            f"file `{name}` is of a kind that is not stored", hint=f"stored are {', '.join(sorted(SUFFIXES))}"
        )
    size = path.stat().st_size
    with path.open("rb") as source:
        start = source.read(9)
    if suffix == ".safetensors":
        _check_safetensors(name, start, size)
    elif start.startswith((PICKLE, ZIP)):
        raise ArtifactError(f"file `{name}` holds a pickle or an archive", hint=SAVE)


def _check_safetensors(name: str, start: bytes, size: int) -> None:
    # 8 bytes: the length of the header, little-endian; then the header, which is a JSON object.
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:9] != b"{" or not length <= min(LARGEST_HEADER, size - 8):
        raise ArtifactError(f"file `{name}` is not in the safetensors format", hint=SAVE)


def check_name(name: str, *, tree: str) -> None:
    """Refuse a path that could lead out of the tree on any operating system.

    Raises:
        ArtifactError: names the tree and the path.
    """
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts) or any(bad in name for bad in "\\:\x00"):
        raise ArtifactError(f"tree `{tree}` names the path {name!a}, which leads out of it")
