"""A version keeps what it was trained to read; where that is rendered otherwise today, it is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from adaptman.errors import ExampleError, RenderingError
from adaptman.learning import rendering as learned
from adaptman.learning.chat import ChatRenderer
from adaptman.lifecycle import engine
from adaptman.lifecycle.audit import audit_suite
from adaptman.lifecycle.bisect import bisect
from adaptman.lifecycle.doctor import Finding, Status, default_probes, examine
from adaptman.lifecycle.evaluate import evaluate
from adaptman.lifecycle.plan import UpdateRequest, make_plan
from adaptman.lifecycle.promote import promote
from adaptman.lifecycle.rendering import (
    ExampleLine,
    check_rendering,
    compare_rendering,
    recorded_rendering,
    show_rendering,
)
from adaptman.lifecycle.store_verify import verify_store
from adaptman.lifecycle.update import run_update
from adaptman.toolspec.jsontext import sha256_of
from tests.lifecycle.story import FIRST_TOOLS
from tests.lifecycle.tiny_line import CANDIDATE, FIRST_EXAMPLES, Recorder, TinyLine, tiny_lines

OLD = {"adaptman": "0.1.0", "jinja2": "3.1.6", "tokenizers": "0.1", "transformers": "4.0"}


def one_more_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another transformers, which writes a blank line after each message, as templates were trimmed once."""
    own = PreTrainedTokenizerBase.apply_chat_template

    def apply(self: PreTrainedTokenizerBase, *arguments: object, **options: object) -> str:
        return str(own(self, *arguments, **options)).replace("<|im_end|>\n", "<|im_end|>\n\n")  # type: ignore[arg-type]

    monkeypatch.setattr(PreTrainedTokenizerBase, "apply_chat_template", apply)
    monkeypatch.setattr(learned, "libraries", lambda: OLD)


def cut_in_single_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tokenizers, which joins no letters."""
    own = ChatRenderer._ids
    monkeypatch.setattr(ChatRenderer, "_ids", lambda self, text: [one for x in text for one in own(self, x)])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> TinyLine:
    """Version 2, trained with another library, is the champion; the one of today is installed since."""
    line = TinyLine.copy(tiny_lines().filled, tmp_path_factory.mktemp("elsewhere") / "line")
    with pytest.MonkeyPatch.context() as patch:
        one_more_blank(patch)
        line.update()
    promote(line.workspace, CANDIDATE, waiver="for the test")
    line.workspace.close()
    return line


@pytest.fixture
def elsewhere(template: TinyLine, tmp_path: Path) -> Iterator[TinyLine]:
    line = TinyLine.copy(template, tmp_path / "line")
    yield line
    line.workspace.close()


def doctor_says(line: TinyLine) -> Finding:
    found = examine(line.workspace.settings, clock=line.clock, probes=default_probes())
    return next(one for one in found if one.check == "rendering")


def request(line: TinyLine, *, accept: bool) -> UpdateRequest:
    asked = line.request(steps="2")
    return UpdateRequest(asked.schema, asked.examples, None, asked.settings, "", accept)


def test_a_version_records_what_it_was_trained_to_read(updated: TinyLine) -> None:
    version = updated.version()
    found = recorded_rendering(updated.workspace, version)
    assert found.digest == version.rendering_digest
    assert updated.workspace.store.get_bytes(found.digest).decode() == found.to_json()
    assert all(tool["function"]["name"] in found.prompt for tool in FIRST_TOOLS)
    assert version.summary is not None
    assert version.summary["libraries"] == learned.libraries()
    assert verify_store(updated.workspace).ok


def test_it_is_what_its_examples_were_trained_on(updated: TinyLine) -> None:
    """The renderer of the record is the one of training: the same text and tokens for the same example."""
    shown = show_rendering(
        updated.workspace, CANDIDATE, example=ExampleLine(updated.folder / "examples.jsonl", 2)
    )
    renderer = engine.renderer_of(
        engine.load_version(updated.workspace, updated.version()),
        engine.version_format(updated.workspace, updated.version()),
    )
    trained = renderer.answered(FIRST_EXAMPLES[1]["messages"], FIRST_EXAMPLES[1]["tools"])
    assert (shown.example, list(shown.rendering.ids)) == ("oslo", trained.ids)
    assert len(shown.rendering.prompt_ids) == trained.prompt_length


def test_it_reads_the_same_today(updated: TinyLine) -> None:
    found = compare_rendering(updated.workspace, updated.version())
    assert (found.same, found.today, found.key, found.libraries) == (True, found.recorded, {}, ())
    assert updated.plan(steps="2").rendering.told == ""


def test_the_base_has_nothing_on_record_and_is_no_error(updated: TinyLine) -> None:
    found = compare_rendering(updated.workspace, updated.version(1))
    assert (found.same, found.told, found.key) == (None, "", {})
    assert doctor_says(updated) == Finding(
        "rendering", Status.OK, "version 1 is the base: nothing to compare"
    )
    assert show_rendering(updated.workspace, 1).check.recorded is None
    with pytest.raises(RenderingError, match="what version 1 was trained to read is not on record"):
        show_rendering(updated.workspace, 1, recorded=True)


def test_it_is_said_what_differs_and_which_library_was_another_one(elsewhere: TinyLine) -> None:
    found = compare_rendering(elsewhere.workspace, elsewhere.version())
    now = learned.libraries()
    assert found.told.startswith(
        "version 2 was trained to read other bytes than are rendered today: the text from character "
    )
    assert "<|im_end|>\\n\\n<|im_start|>user" in found.told
    assert "template and tokenizer files are those of then; " in found.told
    assert f"transformers 4.0 → {now['transformers']}" in found.told
    assert found.way_back == "install tokenizers 0.1, transformers 4.0 again"


def test_a_library_changed_in_place_is_found(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_in_single_letters(monkeypatch)
    found = compare_rendering(updated.workspace, updated.version())
    assert found.difference is not None
    assert found.difference.part == "tokens"
    assert found.told.endswith("so are the versions of the libraries: one was changed in place")


def test_a_template_that_is_refused_today(updated: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> str:
        raise ValueError("no such filter")

    monkeypatch.setattr(PreTrainedTokenizerBase, "apply_chat_template", refuse)
    found = compare_rendering(updated.workspace, updated.version())
    assert (found.same, found.today) == (False, None)
    assert "refuses the conversation: no such filter; the base's" in found.told
    with pytest.raises(RenderingError, match="no such filter") as raised:
        check_rendering(updated.workspace, updated.version(), accept=True)
    assert "--accept-rendering" not in raised.value.hint


def test_an_update_is_not_planned_on_other_bytes(elsewhere: TinyLine) -> None:
    before = elsewhere.events()
    with pytest.raises(RenderingError, match="version 2 was trained to read other bytes") as raised:
        make_plan(elsewhere.workspace, request(elsewhere, accept=False))
    assert raised.value.hint.startswith("install tokenizers 0.1, transformers 4.0 again; or ")
    assert "--accept-rendering" in raised.value.hint
    assert elsewhere.events() == before


def test_an_accepted_update_ends_in_a_version_that_reads_what_is_rendered_today(elsewhere: TinyLine) -> None:
    plan = make_plan(elsewhere.workspace, request(elsewhere, accept=True))
    assert plan.to_dict()["rendering"]["same"] is False
    done = run_update(elsewhere.workspace, plan)
    assert compare_rendering(elsewhere.workspace, done.version).same is True
    assert done.evaluation is not None
    assert done.evaluation.decision is not None
    assert done.evaluation.decision.warnings[0] == plan.rendering.told
    promote(elsewhere.workspace, done.version.number, waiver="reads what is rendered")
    assert doctor_says(elsewhere).status is Status.OK


def test_the_same_update_is_another_version_where_it_would_read_otherwise(
    updated: TinyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_more_blank(monkeypatch)
    done = updated.update()
    assert (done.version.number, done.version.rendering_digest != updated.version().rendering_digest) == (
        3,
        True,
    )


def test_a_version_is_not_evaluated_on_other_bytes(elsewhere: TinyLine) -> None:
    before = elsewhere.events()
    with pytest.raises(RenderingError, match="version 2 was trained to read other bytes"):
        evaluate(elsewhere.workspace, CANDIDATE)
    with pytest.raises(RenderingError, match="version 2 was trained to read other bytes"):
        audit_suite(elsewhere.workspace, "general")
    elsewhere.suite("new", "general", salt=" again")
    with pytest.raises(RenderingError, match="version 2 was trained to read other bytes"):
        bisect(elsewhere.workspace, "new", "general-0")
    assert elsewhere.events() == [*before, "suite.added"]
    assert elsewhere.held_by() == []


def test_a_result_on_other_bytes_is_not_taken(elsewhere: TinyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Recorder()
    evaluate(elsewhere.workspace, CANDIDATE, accept_rendering=True, progress=progress)
    assert progress.phases == ["v2 on general again", "v2 on new-tools again"]
    evaluate(elsewhere.workspace, CANDIDATE, accept_rendering=True, progress=progress)
    assert len(progress.phases) == 2
    one_more_blank(monkeypatch)  # the library of then is back: what was answered then stands
    evaluate(elsewhere.workspace, CANDIDATE, progress=progress)
    assert len(progress.phases) == 2


def test_the_doctor_finds_it(elsewhere: TinyLine) -> None:
    found = doctor_says(elsewhere)
    assert (found.status, found.hint) == (Status.FAIL, "install tokenizers 0.1, transformers 4.0 again")
    assert found.text.startswith("version 2 was trained to read other bytes")


def test_the_doctor_says_that_all_is_well(updated: TinyLine) -> None:
    promote(updated.workspace, CANDIDATE, waiver="for the test")
    digest = updated.version().rendering_digest or ""
    assert doctor_says(updated).text == f"version 2 reads what it was trained to read, `{digest[:12]}`"


def test_what_is_shown_is_what_is_read_today(elsewhere: TinyLine) -> None:
    today, then = (show_rendering(elsewhere.workspace, CANDIDATE, recorded=told) for told in (False, True))
    assert then.rendering.digest == then.check.recorded != today.rendering.digest == today.check.today
    assert then.rendering.text.replace("\n\n<|im_start|>", "\n<|im_start|>") == today.rendering.text
    assert sha256_of(today.rendering.to_json()) == today.to_dict()["render_digest"]
    assert today.contract_digest == then.contract_digest != None  # noqa: E711


@pytest.mark.parametrize(
    ("line", "words"),
    [(4, "has no example in line 4"), (9, "has no example in line 9"), (5, "line 5: not JSON")],
)
def test_a_line_that_holds_no_example(updated: TinyLine, line: int, words: str) -> None:
    path = updated.folder / "examples.jsonl"
    path.write_text(path.read_text() + "\n{\n")
    with pytest.raises(ExampleError, match=words):
        show_rendering(updated.workspace, CANDIDATE, example=ExampleLine(path, line))


def test_no_weights_are_read(updated: TinyLine) -> None:
    """Asking what a version reads takes neither its adapter nor its base's weights."""
    store, version = updated.workspace.store, updated.version()
    store.path_of(store.tree(version.base_digest)["model.safetensors"].sha256).unlink()
    store.path_of(updated.adapter()).unlink()
    assert show_rendering(updated.workspace, CANDIDATE).check.same is True
