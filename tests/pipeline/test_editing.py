"""The recipe's editor: each kind by what it makes of a run's answers, and what is counted of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from redpencil.alignment.words import split_words, word_distance
from redpencil.config.asked import EditorConfig
from redpencil.digests import MANIFEST, OUTPUTS, digest_files, sealed
from redpencil.editing.references import edit_to_reference
from redpencil.errors import RedpencilError
from redpencil.evaluation.gleu import Gleu, gleu, sentence_gleu
from redpencil.pipeline import results
from redpencil.pipeline.context import Context
from redpencil.pipeline.editing import edit_answers
from redpencil.pipeline.execute import execute
from redpencil.pipeline.inputs import check_inputs
from redpencil.pipeline.plan import plan_run
from redpencil.pipeline.run import run_recipe
from redpencil.recipe import load_recipe
from redpencil.records import HAS_TEXT, Comparison, Edit, EditOutcome, Response, read_jsonl
from redpencil.results import RunResults, parse_results
from redpencil.runs import Stage, read_metrics, write_json
from redpencil.text import read_json
from redpencil.world.build import make_oracle

POLICIES = ("sft", "token", "edits", "preference")


def edit_again(recipe: Any, root: Path) -> dict[str, list[Edit]]:
    """Do the stage `needed` of a run, and read the edits."""
    execute([spec for spec in plan_run(recipe, root, 3) if spec.name == "needed"], jobs=1, listener=lambda _: None)
    return {name: list(read_jsonl(root / "needed" / f"{name}.jsonl", Edit)) for name in POLICIES}


def answers(root: Path, name: str) -> list[Response]:
    return list(read_jsonl(root / f"outputs-{name}" / "evaluation.jsonl", Response))


def measured(root: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = read_json(root / "needed" / "needed.json")["policies"][name]
    return content


def test_the_worlds_editor_leaves_nothing_wrong_and_changes_nothing_that_is_right(context: Context) -> None:
    world = context.recipe.world
    assert world is not None
    oracle, root = make_oracle(world), context.root
    for name in POLICIES:
        rows = list(read_jsonl(root / "needed" / f"{name}.jsonl", Edit))
        assert [(row.prompt, row.original) for row in rows] == [
            (row.prompt, row.response) for row in answers(root, name)
        ]
        for row in rows:
            before, after = (oracle.inspect(row.prompt, text) for text in (row.original, row.edited))
            if row.outcome not in HAS_TEXT:
                continue
            assert not after.flaws
            assert not after.missing
            assert (row.edited == row.original) == (not before.flaws and not before.missing)


def test_edits_to_learn_from_are_as_good_as_the_world_says(context: Context, tiny: Any, tmp_path: Path) -> None:
    rows = {"sft": answers(context.root, "sft")}

    def edited(*overrides: str, measuring: bool) -> list[str]:
        one = Context(tiny(*overrides), context.root, 3)
        return [row.edited for row in edit_answers(one, Stage("x", tmp_path, 3), rows, measuring=measuring)["sft"]]

    perfect = edited(measuring=True)
    assert edited("world.edit_repair=0.01", "world.edit_slip=0.99", measuring=True) == perfect
    assert edited("world.edit_repair=1", "world.edit_slip=0", measuring=False) == perfect
    assert edited("world.edit_repair=0.01", measuring=False) != perfect


def test_results_have_what_the_edits_say(context: Context, results: dict[str, Any]) -> None:
    needed = results["edits_needed"]
    assert needed["editors"] == ["world"]
    assert list(needed["policies"]) == list(POLICIES)
    pairs = ["token-sft", "edits-sft", "preference-sft", "token-edits", "token-preference", "edits-preference"]
    assert list(needed["differences"]) == pairs
    for name in POLICIES:
        own = needed["policies"][name]
        rows = list(read_jsonl(context.root / "needed" / f"{name}.jsonl", Edit))
        stand = [row.edited.split() == row.original.split() != [] and row.meta.get("finished", True) for row in rows]
        lost = sum(row.outcome is EditOutcome.UNCERTAIN for row in rows)  # nothing of such an answer is kept
        stand = [each for each, row in zip(stand, rows, strict=True) if row.outcome is not EditOutcome.UNCERTAIN]
        assert own["accepted"]["value"] == pytest.approx(100 * sum(stand) / len(stand))
        assert (own["answers"], own["unedited"]) == (12 - lost, lost)
        assert lost < 3
        assert own["cut_off"] == sum(not row.finished for row in answers(context.root, name))
    words = {name: needed["policies"][name]["words"]["value"] for name in POLICIES}
    whole = {name for name in POLICIES if not needed["policies"][name]["unedited"]}
    compared = [pair for pair in pairs if whole >= set(pair.split("-"))]
    assert compared
    for better, worse in (pair.split("-") for pair in compared):
        gap = needed["differences"][f"{better}-{worse}"]["words"]["value"]
        assert gap == pytest.approx(words[better] - words[worse])


def test_an_llm_is_asked_once_and_again_for_what_keeps_too_little(
    tiny: Any, copied: Path, stub: tuple[str, Callable[[], int]]
) -> None:
    address, paid = stub
    llm = f"editor={{provider: openai, model: gpt-5-mini, base_url: '{address}'}}"
    edits = [row for rows in edit_again(tiny(llm), copied).values() for row in rows]
    assert {row.editor for row in edits} == {"gpt-5-mini"}
    assert all(row.outcome in (*HAS_TEXT, EditOutcome.EMPTY) for row in edits)
    twice = {(row.prompt, row.original) for row in edits if "retry" in row.meta}
    asked = {(row.prompt, row.original) for row in edits if row.outcome is not EditOutcome.EMPTY}
    assert twice
    assert paid() == len(asked) + len(twice)
    assert any(row.meta["retry"]["outcome"] == "edited" for row in edits if "retry" in row.meta)
    before = paid()
    shutil.rmtree(copied / "needed")
    again = edit_again(tiny(llm, "editor.concurrency=3"), copied)
    assert paid() == before  # the answers are in needed.cache
    assert [row for rows in again.values() for row in rows] == edits


def test_what_an_llm_does_not_answer_is_said(tiny: Any, tmp_path: Path, stub: tuple[str, Callable[[], int]]) -> None:
    one = Context(tiny(f"editor={{provider: openai, model: m, base_url: '{stub[0]}'}}"), tmp_path, 3)
    broken = Response("1", "describe {stub:status=400}", "one two three four five six")
    answered, empty = (Response("2", "describe france", "one two three four five six"), Response("3", "p", " "))
    stage = Stage("needed", tmp_path, 3)
    edits = edit_answers(one, stage, {"sft": [broken, answered, empty]}, measuring=True)["sft"]
    outcomes = [EditOutcome.FAILED, EditOutcome.EDITED, EditOutcome.EMPTY]
    assert [row.outcome for row in edits] == outcomes
    assert stage.notes["remarks"] == ["1 of the 3 answers of sft have no edit"]
    with pytest.raises(RedpencilError, match="the editor gave no answer at all: HTTP 400") as raised:
        edit_answers(one, stage, {"sft": [broken, empty]}, measuring=True)
    assert raised.value.field == "editor.model"


def test_people_edit_what_they_like_and_may_come_later(tiny: Any, copied: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.jsonl"
    recipe = tiny(f"editor.edits={people}")
    check_inputs([recipe])
    with pytest.raises(RedpencilError, match="there are no edits yet") as raised:
        edit_again(recipe, copied)
    assert (raised.value.file, raised.value.field) == (str(people), "editor.edits")
    assert "outputs-*/evaluation.jsonl" in (raised.value.hint or "")

    def row(answer: Response, edited: str, outcome: str = "edited") -> str:
        texts = {"id": "x", "prompt": answer.prompt, "original": answer.response, "edited": edited}
        return json.dumps({**texts, "editor": "ann", "outcome": outcome}) + "\n"

    given = [answer for name in POLICIES for answer in answers(copied, name)[1:]]
    first = answers(copied, "sft")[1]
    people.write_text(
        row(first, "", "failed")  # an attempt that counts nothing
        + row(first, f"{first.response} at last")
        + row(first, "a second opinion")
        + "".join(row(answer, answer.response, "unchanged") for answer in given)
    )
    edits = edit_again(recipe, copied)["sft"]
    unknown = [number for number, edit in enumerate(edits) if edit.outcome is EditOutcome.FAILED]
    assert edits[1].edited == f"{first.response} at last"
    assert (edits[1].id, edits[1].editor, edits[1].outcome) == (answers(copied, "sft")[1].id, "ann", EditOutcome.EDITED)
    assert unknown in ([0], [])  # the first answer may have the words of a later one to the same prompt
    if unknown:
        assert edits[0].meta["problem"] == "nobody edited it"
        assert measured(copied, "sft")["unedited"] == 1
        (remark, *_) = read_json(copied / "needed" / "manifest.json")["notes"]["remarks"]
        assert remark == "1 of the 12 answers of sft have no edit"
    rejected = {(answer.prompt, answer.response): answer for answer in answers(copied, "sft")}
    others = [answer for answer in given if (answer.prompt, answer.response) not in rejected]
    people.write_text(
        "".join(row(answer, "never read", "refused") for answer in rejected.values())
        + "".join(row(answer, answer.response, "unchanged") for answer in others)
    )
    edits = edit_again(recipe, copied)
    assert {edit.outcome for edit in edits["sft"]} == {EditOutcome.REFUSED}
    assert all(edit.edited == edit.original for edit in edits["sft"])
    assert (
        set(read_json(copied / "needed" / "needed.json")["policies"])
        == {name for name in POLICIES if any(edit.outcome is EditOutcome.UNCHANGED for edit in edits[name])}
        < set(POLICIES)
    )
    people.write_text(row(Response("x", "another prompt", "a b"), "a c"))
    with pytest.raises(RedpencilError, match="none of the 12 answers of sft is in it") as raised:
        edit_again(recipe, copied)
    assert raised.value.file == str(people)


@pytest.mark.parametrize(
    ("editor", "field", "problem"),
    [
        ("{provider: anthropic, model: claude-x}", "editor.provider", "no API key in ANTHROPIC_API_KEY"),
        ("{provider: openai, model: unheard-of, max_cost: 1}", "editor.max_cost", "no price is known"),
        ("{provider: openai, model: m, template: /no/request.txt}", "editor.template", "no such file"),
        ("{provider: openai, model: m, prices: /no/prices.yaml}", "editor.prices", "no such file"),
        ("{edits: /no/folder/people.jsonl}", "editor.edits", "no such file"),
        ("{provider: local, model: /no/model}", "editor.model", "config.json is missing"),
    ],
)
def test_what_the_stage_would_stumble_over_is_found_first(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, editor: str, field: str, problem: str
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with pytest.raises(RedpencilError, match=problem) as raised:
        check_inputs([tiny(f"editor={editor}")])
    assert raised.value.field == field
    assert raised.value.hint


def with_references(source: Path, target: Path, references: Callable[[int, str], Any]) -> None:
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    lines = [json.dumps({**row, "references": references(number, row["prompt"])}) for number, row in enumerate(rows)]
    target.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def corrected(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Recipe and folder of a finished run on files whose prompts have references, which judge."""
    data = tmp_path_factory.mktemp("references")
    world = finished / "world"
    for split in ("validation", "evaluation"):
        with_references(
            world / f"{split}_prompts.jsonl",
            data / f"{split}.jsonl",
            lambda number, prompt: [f"the capital of {number} is known .", f"here is {prompt}"],
        )
    recipe = {
        "name": "corrections",
        "seeds": [3],
        "compute": {"device": "cpu"},
        "prompt_template": "<bos> {prompt} <answer>",
        "files": {
            "model": str(finished / "sft" / "checkpoint"),
            "edits": str(finished / "annotations" / "edits_train.jsonl"),
            "prompts": str(world / "prompts.jsonl"),
            "validation_prompts": str(data / "validation.jsonl"),
            "evaluation_prompts": str(data / "evaluation.jsonl"),
        },
        "judge": {"rule": "references"},
        "align": {"max_length": 128},
        "sampling": {"response_length": 24},
        "reward_models": {},
        "arms": {"figa": {"method": "figa", "options": {"max_steps": 4, "batch_size": 8, "eval_steps": 2}}},
    }
    path = data / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    run_recipe(load_recipe(path), data / "run", jobs=1, listener=lambda _: None)
    return path, data / "run"


def test_people_are_asked_only_for_edits_that_are_used(corrected: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = load_recipe(corrected[0], [f"editor.edits={tmp_path / 'later.jsonl'}"])
    rows = [Response(str(number), "p", "a b") for number in range(3)]
    stage = Stage("annotations-figa", tmp_path, 3)
    with pytest.raises(RedpencilError, match="there are no edits yet") as raised:
        edit_answers(Context(recipe, tmp_path, 3), stage, {"figa": rows}, measuring=False)
    assert f"have the first 3 answers of {tmp_path}/samples-figa/responses.jsonl edited" in str(raised.value.hint)


def test_references_judge_edit_and_choose_the_checkpoint(corrected: tuple[Path, Path]) -> None:
    found = parse_results(read_json(corrected[1] / "results.json"), RunResults, corrected[1] / "results.json")
    assert found.gleu is not None
    assert found.gleu.n == 12
    assert set(found.gleu.policies) == {"sft", "figa", "source"}
    prompts = list(read_jsonl(corrected[1] / "outputs-sft" / "evaluation.jsonl", Response))
    unchanged = Gleu([row.prompt for row in prompts], [row.meta["references"] for row in prompts])
    counts = unchanged.counts([row.prompt for row in prompts])
    assert found.gleu.policies["source"].value == pytest.approx(gleu(counts))
    over = found.gleu.policies["figa"].value - found.gleu.policies["source"].value
    assert found.gleu.differences["figa-source"].value == pytest.approx(over)
    gap = found.gleu.policies["figa"].value - found.gleu.policies["sft"].value
    assert found.gleu.differences["figa-sft"].value == pytest.approx(gap)
    for row in read_jsonl(corrected[1] / "judge" / "figa.jsonl", Comparison):
        scorer = Gleu([row.prompt], [row.meta["references"]])
        first, second = (sentence_gleu(scorer.counts([text]))[0] for text in (row.first, row.second))
        expected = "first" if first > second else "second" if second > first else "tie"
        assert row.preference.value == expected
    assert found.edits_needed is not None
    assert found.edits_needed.editors == ("the nearest reference",)
    edits = [edit_to_reference(Response(row.id, row.prompt, row.prompt, meta=row.meta)) for row in prompts]
    changed = sum(word_distance(edit.original, edit.edited) for edit in edits)
    words = found.edits_needed.policies["source"].words
    assert words is not None
    assert words.value == pytest.approx(100 * changed / sum(len(split_words(edit.original)) for edit in edits))
    assert {"figa-source", "sft-source"} < set(found.edits_needed.differences)
    rates = {row["step"]: row["eval/gleu"] for row in read_metrics(corrected[1] / "figa-figa") if "eval/gleu" in row}
    best = read_json(corrected[1] / "figa-figa" / "manifest.json")["notes"]["best"]
    assert set(rates) >= {2, 4}
    assert best["gleu"] == best["value"] == max(rates.values()) == rates[best["step"]]
    assert found.methods["figa"].validation_win_rate is None
    assert found.methods["figa"].validation_gleu == best["gleu"]


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        ({}, "Fix me"),
        ({"source": "he go"}, "he go"),
        ({"input": "he go"}, "he go"),
        ({"messages": [], "input": "he go"}, "he go"),
        ({"messages": []}, None),  # a conversation is no text to improve
        ({"source": 7}, None),
        ({"input": ["he go"]}, None),
    ],
)
def test_the_unchanged_source_stands_only_where_each_prompt_has_one(
    meta: dict[str, Any], text: str | None, tmp_path: Path
) -> None:
    stage = Stage("needed", tmp_path, 3)
    rows = [Response("1", "Fix me", "he goes", meta={"input": "x"}), Response("2", "Fix me", "he goes", meta=meta)]
    found = results._unchanged(rows, stage)
    assert [row.response for row in found.get("source", [])] == ([] if text is None else ["x", text])
    said = stage.notes.get("remarks", [])
    assert len(said) == (text is None and "messages" not in meta)
    assert all("the unchanged source does not stand among the policies" in sentence for sentence in said)


def test_a_source_that_is_no_text_is_found_before_the_run_that_judges_by_it(
    corrected: tuple[Path, Path], tmp_path: Path
) -> None:
    files = load_recipe(corrected[0]).files
    assert files is not None
    assert files.evaluation_prompts is not None
    rows = [json.loads(line) for line in files.evaluation_prompts.read_text().splitlines()]
    rows[3]["source"] = {"name": "web"}
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RedpencilError, match="is a dict, not a text") as raised:
        check_inputs([load_recipe(corrected[0], [f"files.evaluation_prompts={wrong}"])])
    assert (raised.value.file, raised.value.field) == (str(wrong), "source")


def test_a_finished_run_without_the_unchanged_source_is_reported(corrected: tuple[Path, Path], tmp_path: Path) -> None:
    """As an earlier version left it: the stages are complete, and are not done again."""
    recipe, out = load_recipe(corrected[0]), Path(shutil.copytree(corrected[1], tmp_path / "run"))
    for stage, name in (("judge", "gleu.json"), ("needed", "needed.json")):
        file = out / stage / name
        content = read_json(file)
        del content["policies"]["source"]
        content["differences"] = {pair: gap for pair, gap in content["differences"].items() if "source" not in pair}
        write_json(file, content)
        (out / stage / "source.jsonl").unlink(missing_ok=True)
        manifest = {key: value for key, value in read_json(out / stage / MANIFEST).items() if key != "manifest_sha256"}
        write_json(out / stage / MANIFEST, sealed({**manifest, OUTPUTS: digest_files(out / stage)}))
    done: list[str] = []
    run_recipe(recipe, out, jobs=1, listener=lambda event: done.extend([event.stage] * (event.happening == "done")))
    assert done == ["evaluate"]
    found = parse_results(read_json(out / "results.json"), RunResults, out / "results.json")
    assert found.gleu is not None
    assert found.edits_needed is not None
    assert "source" not in found.gleu.policies
    assert "source" not in found.edits_needed.policies
    assert "unchanged" not in (out / "report.html").read_text()


def test_a_prompt_without_references_is_found_before_the_run(corrected: tuple[Path, Path], tmp_path: Path) -> None:
    prompts = load_recipe(corrected[0]).files
    assert prompts is not None
    assert prompts.evaluation_prompts is not None
    lacking = tmp_path / "lacking.jsonl"
    with_references(prompts.evaluation_prompts, lacking, lambda number, _: [] if number == 7 else ["a b"])
    for keys in (["files.evaluation_prompts"], ["files.validation_prompts"]):
        with pytest.raises(RedpencilError, match="has no references") as raised:
            check_inputs([load_recipe(corrected[0], [f"{key}={lacking}" for key in keys])])
        assert (raised.value.file, raised.value.field) == (str(lacking), "references")
    # References edit by default, so the prompts need some too where something learns from edits of answers to them.
    arms = "arms={figa: {method: figa}, again: {method: figa, on: figa}}"
    for editor in ((), ("editor.rule=references",)):
        with pytest.raises(RedpencilError, match="has no references") as raised:
            check_inputs([load_recipe(corrected[0], [arms, "judge.rule=shorter", *editor])])
        assert (raised.value.file, raised.value.field) == (str(prompts.prompts), "references")
    # With another judge they are no editor by default, and nothing is counted.
    shorter = load_recipe(corrected[0], [f"files.evaluation_prompts={lacking}", "judge.rule=shorter"])
    check_inputs([shorter])
    assert "needed" not in [spec.name for spec in plan_run(shorter, tmp_path / "run", 3)]
    with pytest.raises(RedpencilError, match="has no references"):
        check_inputs([shorter.model_copy(update={"editor": EditorConfig(rule="references")})])
    check_inputs([shorter.model_copy(update={"editor": EditorConfig(rule="references", measure=False)})])


@pytest.mark.parametrize("keys", [[], ["editor.rule=references"], ["editor={rule: references, measure: false}"]])
def test_who_learns_on_answers_to_the_training_prompts_needs_references_there_too(
    corrected: tuple[Path, Path], tmp_path: Path, keys: list[str]
) -> None:
    again = ["arms.again={method: figa, start: figa, on: figa}", *keys]
    recipe = load_recipe(corrected[0], again)
    assert recipe.files is not None
    assert recipe.files.prompts is not None
    with pytest.raises(RedpencilError, match="has no references") as raised:
        check_inputs([recipe])
    assert (raised.value.file, raised.value.field) == (str(recipe.files.prompts), "references")
    with_references(recipe.files.prompts, tmp_path / "prompts.jsonl", lambda number, _: [f"{number} is known ."])
    check_inputs([load_recipe(corrected[0], [*again, f"files.prompts={tmp_path}/prompts.jsonl"])])
