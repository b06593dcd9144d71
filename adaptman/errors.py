"""The error tree. Every error that a user can meet descends from one of three roots.

    AdaptmanError                 exit code 1
    ├── SettingsError             a setting or `adaptman.toml` that cannot be used
    ├── WorkspaceError            the home directory is missing, not writable, or of another age
    ├── ToolDocumentError         a tool document that cannot be read
    ├── SourceError               tools cannot be had where they live
    ├── ExampleError              training examples that cannot be used
    ├── SuiteError                a suite file that cannot be read or scored
    ├── ArtifactError             an object is missing, damaged or cannot be written
    ├── ModelError                a checkpoint that cannot be loaded, converted or exported
    ├── RenderingError            a version was trained to read other bytes than are rendered today
    ├── TrainingError             replay or fine-tuning cannot go on
    ├── ReproductionError         a training that is run again ends otherwise than it did
    ├── BusyError                 somebody else holds the model line
    ├── SignatureError            a key that cannot be used, or an envelope that is none
    ├── LineageError              MLflow cannot be told, or disagrees
    └── GateRefusedError          exit code 3: the gate refuses the promotion

`registry.errors.RegistryError` and `policies.errors.PolicyError` are the roots of the two packages
that stand on their own; they have the same shape (`message`, `hint`, `exit_code`) and the command
line prints all three alike.
"""

from __future__ import annotations


class AdaptmanError(Exception):
    """What went wrong and to which thing; `hint` says the way out."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(AdaptmanError):
    """A setting or `adaptman.toml` that cannot be used."""


class WorkspaceError(AdaptmanError):
    """The home directory is missing, not writable, or of another age."""


class ToolDocumentError(AdaptmanError):
    """A tool document that cannot be read."""


class SourceError(AdaptmanError):
    """Tools cannot be had where they live: a server does not answer, a module cannot be loaded."""


class ExampleError(AdaptmanError):
    """Training examples that cannot be used."""


class SuiteError(AdaptmanError):
    """A suite file that cannot be read or scored."""


class ArtifactError(AdaptmanError):
    """An object is missing, damaged or cannot be written."""


class ModelError(AdaptmanError):
    """A checkpoint that cannot be loaded, converted or exported."""


class RenderingError(AdaptmanError):
    """A version was trained to read other bytes than are rendered today, or it is not on record which."""


class TrainingError(AdaptmanError):
    """Replay or fine-tuning cannot go on."""


class ReproductionError(AdaptmanError):
    """A training that is run again ends otherwise than it did."""


class BusyError(AdaptmanError):
    """Somebody else holds the model line."""


class SignatureError(AdaptmanError):
    """A key that cannot be used, or an envelope that is none."""


class LineageError(AdaptmanError):
    """MLflow cannot be told, or disagrees with the registry."""


class GateRefusedError(AdaptmanError):
    """The gate refuses the promotion, or the policy an update."""

    exit_code = 3


# What torch says: its CUDA allocator, its CPU allocator on Linux, and the latter on other systems.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: Exception) -> bool:
    """True where memory ran out, Python's own or what torch asked for."""
    of_torch = isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
    return of_torch or isinstance(error, MemoryError)
