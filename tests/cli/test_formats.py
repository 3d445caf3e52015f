"""`import` and `export` as their users run them: files, what is said of them, and mistakes."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from typer.testing import CliRunner

from redpencil.cli.formats import app
from redpencil.errors import RedpencilError
from redpencil.formats.registry import FORMATS
from redpencil.records import Comparison, Edit, EditOutcome, Preference, Response, read_jsonl, write_jsonl

REAL = Path(__file__).parents[2] / ".." / "shared" / "data"
PAIR = {"instruction": "i", "output_1": "a", "output_2": "b", "preference": 1}
Run = Callable[..., Any]


@pytest.fixture
def run() -> Run:
    def invoke(*arguments: str | Path) -> Any:
        result = CliRunner().invoke(app, ["import", *(str(argument) for argument in arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def real(name: str) -> Path:
    if not (REAL / name).is_file():
        pytest.skip(f"the real data is not there: {REAL / name}")
    return REAL / name


def test_qa_feedback_gives_edits_with_spans(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "edits.jsonl"
    result = run(real("qa_feedback/feedback.json"), "--format", "qa-feedback", "--out", out, "--json")
    edits = list(read_jsonl(out, Edit))
    assert Counter(edit.outcome.value for edit in edits) == {"edited": 239, "unchanged": 3}
    assert all(span["end"] <= len(edit.original) for edit in edits for span in edit.meta["spans"])
    summary = json.loads(result.stdout)
    assert (summary["kind"], summary["rows"], summary["records"]) == ("edits", 250, 242)
    assert list(summary["nothing"].values()) == [8]
    side = tmp_path / "edits.jsonl.skipped.jsonl"
    assert summary["skipped_file"] == str(side)
    assert len(side.read_text("utf-8").splitlines()) == 8
    assert "242 edits in" in result.stderr
    assert "skipped: 8 items whose corrected prediction is empty" in result.stderr


def test_alpaca_eval_annotations_give_comparisons_and_responses(run: Run, tmp_path: Path) -> None:
    source, out = real("alpaca_eval/alpaca-farm-ppo-human.json"), tmp_path / "out.jsonl"
    run(source, "--format", "alpaca-eval", "--out", out)
    rows = json.loads(source.read_text("utf-8"))
    found = list(read_jsonl(out, Comparison))
    assert [row.first for row in found] == [row["output_1"] for row in rows]
    assert {row.annotator for row in found} == {"alpaca_eval_gpt4"}
    ties = sum(row["preference"] in (0, 1.5) for row in rows)
    result = run(source, "--format", "alpaca-eval", "--as", "responses", "--out", out)
    responses = list(read_jsonl(out, Response))
    assert len(responses) == len(rows) - ties
    assert responses[0].model == rows[0]["generator_2" if rows[0]["preference"] == 1 else "generator_1"]
    assert not ties or f"skipped: {ties} ties" in result.stderr


def test_a_table_with_renamed_columns(run: Run, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text('question,answer,n\n"Why, so?",Because.,1\n', encoding="utf-8")
    out = tmp_path / "out.jsonl"
    columns = ("--column", "prompt=question", "--column", "response=answer", "--drop", "n")
    run(tmp_path / "answers.csv", "--format", "columns", *columns, "--out", out)
    (found,) = read_jsonl(out, Response)
    assert (found.prompt, found.response, found.meta) == ("Why, so?", "Because.", {})


def test_labels_are_given_a_meaning_and_told(run: Run, tmp_path: Path) -> None:
    rows = [{"prompt": "p", "a": "x", "b": "y", "label": label} for label in (0, 1, 1)]
    source, out = write(tmp_path / "votes.jsonl", *rows), tmp_path / "out.jsonl"
    columns = ("--column", "first=a", "--column", "second=b", "--column", "preference=label")
    arguments = (source, "--format", "columns", "--as", "comparisons", *columns, "--out", out)
    with pytest.raises(RedpencilError, match="differs from one data set to another") as caught:
        run(*arguments)
    assert not out.exists()
    assert "--value 0=first --value 1=second" in str(caught.value.hint)
    result = run(*arguments, "--value", "0=first", "--value", " 1 = second")
    assert [str(row.preference) for row in read_jsonl(out, Comparison)] == ["first", "second", "second"]
    assert "labels read as: 0 = first, 1 = second" in result.stderr
    assert json.loads(run(*arguments, "--value", "0=tie", "--value", "1=none", "--json").stdout)["labels"] == {
        "0": "tie",
        "1": "none",
    }
    for wrong in ("0", "0=better", "=", "0=first=no"):
        with pytest.raises(RedpencilError, match="cannot read") as caught:
            run(*arguments, "--value", wrong)
        assert caught.value.field == "--value"
    with pytest.raises(RedpencilError, match="given twice"):
        run(*arguments, "--value", "0=tie", "--value", "0.0=first")


def test_dialects_are_guessed_told_and_can_be_named(run: Run, tmp_path: Path) -> None:
    table, out = tmp_path / "a.tsv", tmp_path / "out.jsonl"
    table.write_bytes('prompt\tresponse\np\t" Äh \nq\tno\n'.encode("cp1252"))
    with pytest.raises(RedpencilError, match="not valid UTF-8") as caught:
        run(table, "--format", "columns", "--as", "responses", "--out", out)
    assert "--encoding cp1252" in str(caught.value.hint)
    arguments = (table, "--format", "columns", "--as", "responses", "--out", out, "--encoding", "cp1252")
    result = run(*arguments)
    assert [row.response for row in read_jsonl(out, Response)] == ['" Äh ', "no"]
    assert (
        "the source was read as: text in CP1252; a table whose quotation marks are part of the texts" in result.stderr
    )
    with pytest.raises(RedpencilError, match="cannot be read"):
        run(*arguments, "--quoting", "standard")
    assert "quotation" not in run(*arguments, "--quoting", "none").stderr
    rows = write(tmp_path / "a.jsonl", {"prompt": "p", "response": "r"})
    with pytest.raises(RedpencilError, match="only tables have a quoting") as caught:
        run(rows, "--format", "columns", "--out", out, "--quoting", "none")
    assert caught.value.field == "--quoting"


def test_two_output_files_of_one_set_of_prompts_share_their_ids(run: Run, tmp_path: Path) -> None:
    ids = []
    for name in ("ours", "theirs"):
        outputs = [{"instruction": text, "output": f"{name} {text}", "generator": name} for text in ("a", "b", "a")]
        (tmp_path / f"{name}.json").write_text(json.dumps(outputs))
        out = tmp_path / f"{name}.jsonl"
        run(tmp_path / f"{name}.json", "--format", "alpaca-eval", "--as", "responses", "--out", out)
        ids.append([row.id for row in read_jsonl(out, Response)])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3


def test_without_a_format_the_first_row_tells_it(run: Run, tmp_path: Path) -> None:
    pairs = [{"prompt": "p", "chosen": f"a{n}", "rejected": "b"} for n in range(3)]
    source, out = write(tmp_path / "pairs.jsonl", *pairs), tmp_path / "out.jsonl"
    result = run(source, "--out", out)
    assert [row.first for row in read_jsonl(out, Comparison)] == ["a0", "a1", "a2"]
    assert "taken for the format trl-preference" in result.stderr
    (tmp_path / "odd.csv").write_text("question,answer\nq,a\n")
    with pytest.raises(RedpencilError, match="no format fits") as caught:
        run(tmp_path / "odd.csv", "--out", out)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "odd.csv"), 2)
    run(tmp_path / "odd.csv", "--out", out, "--column", "prompt=question", "--column", "response=answer")
    assert [row.response for row in read_jsonl(out, Response)] == ["a"]


def test_bad_rows_stop_it_or_are_listed(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "pairs.jsonl", PAIR, {**PAIR, "output_1": None}, PAIR)
    out = tmp_path / "out.jsonl"
    with pytest.raises(RedpencilError, match="expected text, found null") as caught:
        run(source, "--format", "alpaca-farm", "--out", out)
    assert (caught.value.file, caught.value.line, caught.value.field) == (str(source), 2, "output_1")
    result = run(source, "--format", "alpaca-farm", "--out", out, "--on-error", "skip")
    assert len(list(read_jsonl(out, Comparison))) == 2
    assert "skipped: 1 bad rows" in result.stderr
    assert "each of them is listed in" in result.stderr


def test_limit_and_wrong_columns(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "pairs.jsonl", *[PAIR] * 5)
    run(source, "--format", "alpaca-farm", "--out", tmp_path / "out.jsonl", "--limit", "2")
    assert len(list(read_jsonl(tmp_path / "out.jsonl", Comparison))) == 2
    with pytest.raises(RedpencilError, match="it has the columns instruction, output_1") as caught:
        run(source, "--format", "trl-preference", "--out", tmp_path / "other.jsonl")
    assert "`--format alpaca-farm --as comparisons`" in str(caught.value.hint)
    assert not (tmp_path / "other.jsonl").exists()


def test_the_formats_are_listed_and_in_the_help(run: Run) -> None:
    listed = run("--list").stdout.splitlines()
    assert [line.split()[0] for line in listed[: 2 * len(FORMATS) : 2]] == list(FORMATS)
    column = listed[0].index("redpencil's own rows")
    assert {line[:column].strip() for line in listed[1 : 2 * len(FORMATS) : 2]} == {""}
    assert listed[1][column:] == "as edits, comparisons, responses, prompts, examples"
    assert "as examples, responses, prompts" in listed[2 * list(FORMATS).index("trl-messages") + 1]
    assert "the first kind is the default" in listed[-1]
    page = " ".join(run("--help").stdout.split())
    for format_ in FORMATS.values():
        assert f"{format_.name}: {format_.about[:20]}" in page
    assert "$ redpencil import pairs.json --format alpaca-farm" in page


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--format", "nothing"), "no format called 'nothing'"),
        (("--format", "trl-prompt", "--as", "edits"), "trl-prompt gives no edits"),
        (("--format", "columns", "--column", "prompt"), "cannot read 'prompt'"),
        (("--format", "columns", "--column", "prompt=a", "--column", "prompt=b"), "prompt is given twice"),
        (("--format", "columns", "--split", "train"), "no splits or configurations"),
    ],
)
def test_mistakes_in_the_options(run: Run, tmp_path: Path, options: tuple[str, ...], problem: str) -> None:
    source = write(tmp_path / "pairs.jsonl", PAIR)
    with pytest.raises(RedpencilError, match=problem):
        run(source, *options, "--out", tmp_path / "out.jsonl")


def test_inputs_are_never_overwritten(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "out.jsonl.skipped.jsonl", PAIR)
    for out in (source, tmp_path / "out.jsonl"):
        with pytest.raises(RedpencilError, match="it is also an input"):
            run(source, "--format", "alpaca-farm", "--out", out)
    assert json.loads(source.read_text()) == PAIR


def test_the_folder_that_is_read_takes_no_records(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "train.jsonl", PAIR)
    for out in (folder / "out.jsonl", folder / "deep" / "out.jsonl"):
        with pytest.raises(RedpencilError, match="in the folder that is read"):
            run(folder, "--format", "alpaca-farm", "--out", out)
    assert {path.name for path in folder.iterdir()} <= {"train.jsonl", "deep"}


def test_splits_that_are_not_read_are_named(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the extra `data` is not installed")
    (tmp_path / "folder").mkdir()
    for split in ("train", "test", "validation"):
        write(tmp_path / "folder" / f"{split}.jsonl", {**PAIR, "instruction": split})
    command = (tmp_path / "folder", "--format", "alpaca-farm", "--out", tmp_path / "out.jsonl")
    said = run(*command).stderr
    assert "not read: the splits" in said
    assert {"test", "validation"} == set(said.split("the splits ")[1].split(";")[0].split(", "))
    assert "not read" not in run(*command, "--split", "test").stderr
    assert next(read_jsonl(tmp_path / "out.jsonl", Comparison)).prompt == "test"


def test_a_missing_file_never_asks_the_network(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(RedpencilError, match="no such file or folder"):
        run("owner/name", "--format", "columns", "--out", "out.jsonl")


def test_a_column_to_drop_that_no_row_has_is_named(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "pairs.jsonl", PAIR, {**PAIR, "n": 1})
    command = (source, "--format", "alpaca-farm", "--out", tmp_path / "out.jsonl", "--json")
    done = run(*command, "--drop", "n", "--drop", "m", "--drop", "a,b")
    assert "warning: --drop m: no row has such a column\n" in done.stderr
    assert "warning: --drop a,b: no row has such a column; give one --drop for each column\n" in done.stderr
    assert json.loads(done.stdout)["undropped"] == ["a,b", "m"]
    assert "warning" not in run(*command, "--drop", "n").stderr


def test_names_that_are_empty_are_clear_mistakes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = write(tmp_path / "rows.jsonl", {"prompt": "p"})
    with pytest.raises(RedpencilError, match="it is a folder"):
        run(rows, "--format", "columns", "--out", "")
    with pytest.raises(RedpencilError, match="no source is named"):
        run("", "--format", "columns", "--out", "out.jsonl")
    assert list(tmp_path.iterdir()) == [rows]


EXPORT_FORMATS = ("redpencil", "trl", "trl-conversational", "figa", "parquet")


@pytest.fixture
def edits(tmp_path: Path) -> Path:
    rows = [
        Edit("1", "Who?", "the cat sat", "the dog sat", editor="ann", meta={"n": 1}),
        Edit("2", "Who?", "same", "same", outcome=EditOutcome.UNCHANGED),
        Edit("3", "Who?", "a", "", outcome=EditOutcome.REFUSED),
    ]
    write_jsonl(tmp_path / "edits.jsonl", rows)
    return tmp_path / "edits.jsonl"


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    words = {word: i for i, word in enumerate(("<eos>", "<unk>", "the", "cat", "dog", "sat"))}
    cuts = Tokenizer(WordLevel(words, unk_token="<unk>"))
    cuts.pre_tokenizer = WhitespaceSplit()
    cuts.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<eos>"}')
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("format_", EXPORT_FORMATS)
def test_export_writes_each_format_and_says_what_it_left_out(
    redpencil: Callable[..., Any], edits: Path, tmp_path: Path, format_: str
) -> None:
    out = tmp_path / "new" / "rows"
    outcome = redpencil("export", edits, "--format", format_, "--out", out)
    assert outcome.code == 0, outcome
    assert outcome.out == ""
    if format_ in ("redpencil", "parquet"):
        assert f"3 edits in {out}" in outcome.err
        assert list(out.parent.iterdir()) == [out]
        return
    side = out.with_name("rows.skipped.jsonl")
    assert f"1 edits in {out}" in outcome.err
    assert f"not in it: 1 unchanged, 1 refused; listed in {side}" in outcome.err
    assert [row["record"]["id"] for row in lines(side)] == ["2", "3"]


def test_export_prints_the_same_as_json(redpencil: Callable[..., Any], edits: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    outcome = redpencil("export", edits, "--format", "trl", "--out", out, "--json")
    assert json.loads(outcome.out) == {
        "format": "trl",
        "kind": "edits",
        "out": str(out),
        "rows": 1,
        "skipped": {"unchanged": 1, "refused": 1},
        "skipped_file": str(out) + ".skipped.jsonl",
    }
    outcome = redpencil("export", edits, "--format", "redpencil", "--out", out, "--json")
    assert json.loads(outcome.out)["skipped_file"] is None
    assert list(read_jsonl(out, Edit)) == list(read_jsonl(edits, Edit))


def test_export_of_other_kinds(redpencil: Callable[..., Any], tmp_path: Path) -> None:
    rows = tmp_path / "comparisons.jsonl"
    write_jsonl(rows, [Comparison("1", "p", "a", "b", Preference.SECOND)])
    outcome = redpencil("export", rows, "--kind", "comparisons", "--format", "trl", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome
    assert lines(tmp_path / "out")[0]["chosen"] == "b"


def test_export_of_token_weights(redpencil: Callable[..., Any], edits: Path, tokenizer: Path, tmp_path: Path) -> None:
    """the 2, dog 4, sat 5, and the end of the sequence, 0."""
    outcome = redpencil(
        *("export", edits, "--format", "figa", "--out", tmp_path / "out", "--tokenizer", tokenizer),
        *("--weights", "alpha=2, kept=0.25", "--template", "the {prompt}"),
    )
    assert outcome.code == 0, outcome
    (row,) = lines(tmp_path / "out")
    assert (row["revised_ids"], row["revised_weights"]) == ([2, 4, 5, 0], [0.25, 2, 0.25, 2])
    assert row["original_weights"] == [0, -0.5, 0, 0]
    assert row["prompt_ids"] == [2, 1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--format", "trl", "--weights", "alpha=1"), "go with --format figa"),
        (("--format", "figa", "--template", "{prompt}"), "--template needs --tokenizer"),
        (("--format", "figa", "--weights", "gamma=1"), "has no 'gamma'"),
        (("--format", "figa", "--weights", "alpha=much"), "'much' is not a number"),
        (("--format", "figa", "--weights", "alpha"), "'' is not a number"),
        (("--format", "figa", "--weights", "alpha=nan"), "nan is not finite"),
        (("--format", "csv"), "'csv' is not one of"),
    ],
)
def test_wrong_usage(
    redpencil: Callable[..., Any], edits: Path, tmp_path: Path, options: tuple[str, ...], problem: str
) -> None:
    outcome = redpencil("export", edits, "--out", tmp_path / "out", *options)
    assert outcome.code == 2
    assert problem in " ".join(outcome.err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_mistakes(mistake: Callable[..., str], edits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    trl = ("--format", "trl", "--out")
    assert "it is also an input" in mistake("export", edits, *trl, edits)
    listed = tmp_path / "rows.skipped.jsonl"
    listed.write_bytes(edits.read_bytes())
    assert "it is also an input" in mistake("export", listed, *trl, tmp_path / "rows")
    assert "no such file" in mistake("export", tmp_path / "none.jsonl", *trl, out)
    assert "holds no Comparison rows" in mistake(
        "export", edits, "--kind", "comparisons", "--format", "figa", "--out", out
    )
    assert "no such file" in mistake("export", edits, "--format", "figa", "--tokenizer", tmp_path, "--out", out)
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(edits.read_bytes() + b'{"id": "4"}\n')
    assert f"{broken}:4 [prompt]" in mistake("export", broken, *trl, out)
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_bytes(b"".join(edits.read_bytes().splitlines(keepends=True)[1:]))
    assert f"{nothing}: the format trl can hold none of the rows (1 unchanged, 1 refused)" in mistake(
        "export", nothing, *trl, out
    )
    assert not out.exists()


def test_help_shows_how(redpencil: Callable[..., Any]) -> None:
    text = redpencil("export", "--help").out
    for word in ("trl-conversational", "--tokenizer", "$ redpencil export edits.jsonl --format trl"):
        assert word in text


QA_FEEDBACK = Path(__file__).parents[2] / ".." / "shared" / "data" / "qa_feedback" / "feedback.json"


@pytest.mark.skipif(not QA_FEEDBACK.is_file(), reason="QA-Feedback is not in ../shared/data")
@pytest.mark.parametrize(
    ("format_", "read_as"),
    [
        ("redpencil", "redpencil"),
        ("trl", "trl-preference"),
        ("trl-conversational", "trl-preference"),
        ("figa", "figa"),
        ("parquet", "redpencil"),
    ],
)
def test_human_edits_come_back_from_each_format_as_they_were(
    redpencil: Callable[..., Any], tmp_path: Path, format_: str, read_as: str
) -> None:
    edits, out, back = tmp_path / "edits.jsonl", tmp_path / "rows", tmp_path / "back.jsonl"
    for arguments in (
        ("import", QA_FEEDBACK, "--format", "qa-feedback", "--as", "edits", "--out", edits),
        ("export", edits, "--format", format_, "--out", out),
        ("import", out, "--format", read_as, "--as", "edits", "--out", back),
    ):
        outcome = redpencil(*arguments)
        assert outcome.code == 0, outcome
    listed = out.with_name("rows.skipped.jsonl")
    rest = {row["record"]["id"] for row in lines(listed)} if listed.exists() else set()
    kept = [edit for edit in read_jsonl(edits, Edit) if edit.id not in rest]
    assert len(kept) > 200
    assert list(read_jsonl(back, Edit)) == kept


def test_edits_get_back_the_white_space_of_their_originals(run: Run, tmp_path: Path) -> None:
    texts = [
        ("One is.\r\nTwo is.\r\n", "One is.\nTwo was.\n"),
        ("One  is.", "One is."),
        ("One is.", "One was."),
        ("One ,is.", "One, is."),
    ]
    source = write(
        tmp_path / "e.jsonl",
        *({"id": str(n), "prompt": "p", "original": a, "edited": b} for n, (a, b) in enumerate(texts)),
    )
    arguments = (source, "--format", "columns", "--as", "edits", "--out", tmp_path / "o.jsonl")
    told = run(*arguments)
    assert (
        "2 edits given back the original's white space (--keep-spacing leaves it); 1 of them changed nothing else"
        in told.stderr
    )
    edits = list(read_jsonl(tmp_path / "o.jsonl", Edit))
    assert [edit.original for edit in edits] == [a for a, _ in texts]
    assert [edit.edited for edit in edits] == ["One is.\r\nTwo was.\r\n", "One  is.", "One was.", "One, is."]
    assert [edit.outcome for edit in edits] == [EditOutcome.EDITED, EditOutcome.UNCHANGED, *[EditOutcome.EDITED] * 2]
    counts = json.loads(run(*arguments, "--json").stdout)
    assert (counts["respaced"], counts["emptied"]) == (2, 1)
    told = run(*arguments, "--keep-spacing")
    assert "white space" not in told.stderr
    edits = list(read_jsonl(tmp_path / "o.jsonl", Edit))
    assert [(edit.edited, edit.outcome) for edit in edits] == [(b, EditOutcome.EDITED) for _, b in texts]


def test_white_space_is_written_in_one_way_on_both_sides(
    run: Run, redpencil: Callable[..., Any], tmp_path: Path
) -> None:
    spans = [{"start": 6, "end": 9}]
    rows = [
        {"id": "1", "prompt": " p ", "original": " One  is. ", "edited": "One was.\r\n", "spans": spans},
        {"id": "2", "prompt": "p", "original": "One  is.", "edited": "One is. "},
        {"id": "3", "prompt": "p", "original": "One is.", "edited": "One was."},
    ]
    source, out = write(tmp_path / "e.jsonl", *rows), tmp_path / "o.jsonl"
    arguments = (source, "--format", "columns", "--as", "edits", "--out", out)
    told = run(*arguments, "--normalise-spacing")
    assert "2 edits got plain white space; 1 of them changed nothing else" in told.stderr
    edits = list(read_jsonl(out, Edit))
    assert [(edit.original, edit.edited) for edit in edits] == [
        ("One is.", "One was."),
        ("One is.", "One is."),
        ("One is.", "One was."),
    ]
    assert [edit.outcome for edit in edits] == [EditOutcome.EDITED, EditOutcome.UNCHANGED, EditOutcome.EDITED]
    assert edits[0].prompt == " p "
    assert edits[0].meta["spans"] == [{"start": 4, "end": 7}]
    assert json.loads(run(*arguments, "--normalise-spacing", "--json").stdout)["normalised"] == 2
    refused = redpencil("import", *arguments, "--keep-spacing", "--normalise-spacing")
    assert refused.code == 2
    assert "--keep-spacing or --normalise-spacing" in " ".join(refused.err.split())
    pair = {"id": "1", "prompt": "p", "first": "a  b ", "second": "c\td", "preference": "first"}
    source = write(tmp_path / "c.jsonl", pair)
    run(source, "--format", "columns", "--as", "comparisons", "--out", out, "--normalise-spacing")
    (row,) = read_jsonl(out, Comparison)
    assert (row.first, row.second) == ("a b", "c d")
    source = write(tmp_path / "r.jsonl", {"id": "1", "prompt": "p", "response": "a  b "})
    run(source, "--format", "columns", "--as", "responses", "--out", out, "--normalise-spacing")
    assert [row.response for row in read_jsonl(out, Response)] == ["a b"]


def test_prompts_with_the_passages_of_qa_feedback(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "edits.jsonl"
    source = real("qa_feedback/feedback.json")
    run(source, "--format", "qa-feedback", "--prompt-template", r"{passages}\n\n{question}", "--out", out)
    first = next(iter(read_jsonl(out, Edit)))
    item = json.loads(source.read_text("utf-8"))[0]
    assert first.prompt.startswith(f"{item['passages'][0][0]}\n{item['passages'][0][1]}")
    assert first.prompt.endswith(f"\n\n{item['question']}")
    with pytest.raises(RedpencilError, match="no such column"):
        run(source, "--format", "qa-feedback", "--prompt-template", "{passage}", "--out", tmp_path / "n.jsonl")
