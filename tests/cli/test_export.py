"""`export`: files, what is said of them, and mistakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from redpencil.records import Comparison, Edit, EditOutcome, Preference, read_jsonl, write_jsonl

FORMATS = ("redpencil", "trl", "trl-conversational", "figa", "parquet")


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


@pytest.mark.parametrize("format_", FORMATS)
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
        (("--format", "figa", "--weights", "gamma=1"), "knows no 'gamma'"),
        (("--format", "figa", "--weights", "alpha=much"), "'much' is no number"),
        (("--format", "figa", "--weights", "alpha"), "'' is no number"),
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
