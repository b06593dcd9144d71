"""The writer: each method checks, changes rows and records an event, all in one transaction."""

from __future__ import annotations

from registry.writer_audits import AuditsWriter
from registry.writer_inputs import InputsWriter
from registry.writer_judgement import JudgementWriter
from registry.writer_objects import ObjectsWriter
from registry.writer_trust import TrustWriter
from registry.writer_upkeep import UpkeepWriter
from registry.writer_versions import VersionsWriter


class Writer(
    InputsWriter, VersionsWriter, JudgementWriter, AuditsWriter, TrustWriter, UpkeepWriter, ObjectsWriter
):
    """All that can be written; `registry.reader.Reader` lists what can be asked meanwhile."""
