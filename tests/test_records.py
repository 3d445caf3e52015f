"""Records in and out of JSONL: nothing is lost, and each mistake is named with its place."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.records import (
    Comparison,
    Edit,
    EditOutcome,
    Example,
    JsonlFile,
    Pair,
    Preference,
    Prompt,
    Response,
    count_lines,
    full_prompt,
    input_of,
    instruction_of,
    merge_meta,
    parse_record,
    read_jsonl,
    says_finished,
    split_usable,
    to_row,
    write_jsonl,
)

KINDS = (Prompt, Example, Response, Comparison, Edit, Pair)
# Any character that UTF-8 can hold, with the separators and the emoji that break naive line readers made likely.
texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('\n\r\t\u2028\u0085\ufeff😀👩‍👩‍👧"\\{')),
    max_size=30,
)
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


def metas(kind: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    own = {f.name for f in dataclasses.fields(kind)}
    return st.dictionaries(texts.filter(lambda key: key not in own), values, max_size=3)


def records() -> st.SearchStrategy[Any]:
    ids = st.lists(st.integers(0, 300_000), max_size=5).map(tuple)
    flags = st.lists(st.booleans(), max_size=5).map(tuple)
    steps = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=5).map(tuple)
    return st.one_of(
        st.builds(Prompt, texts, texts, metas(Prompt)),
        st.builds(Example, texts, texts, texts, metas(Example)),
        st.builds(Response, texts, texts, texts, texts, st.booleans(), metas(Response)),
        st.builds(Comparison, texts, texts, texts, texts, st.sampled_from(Preference), texts, metas(Comparison)),
        st.builds(Edit, texts, texts, texts, texts, texts, st.sampled_from(EditOutcome), metas(Edit)),
        st.builds(Pair, texts, ids, ids, ids, flags, flags, steps, metas(Pair)),
    )


def write(folder: Path, content: bytes | str) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@given(written=st.lists(records(), min_size=1, max_size=4))
def test_round_trip(written: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("round")
    for kind in KINDS:
        rows = [record for record in written if type(record) is kind]
        if rows:
            path = folder / f"{kind.__name__}.jsonl"
            assert write_jsonl(path, rows) == len(rows)
            assert list(read_jsonl(path, kind)) == rows
            assert path.read_bytes().count(b"\n") == len(rows)


def test_the_row_is_what_a_person_would_write(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    write_jsonl(path, [Comparison("1", "Où ?", "ici", "là", Preference.SECOND, meta={"time": 2})])
    assert path.read_text(encoding="utf-8") == (
        '{"id": "1", "prompt": "Où ?", "first": "ici", "second": "là", "preference": "second", "annotator": "", '
        '"meta": {"time": 2}}\n'
    )
    assert "meta" not in to_row(Prompt("1", "a"))


def test_keys_the_record_does_not_know_are_kept_in_meta(tmp_path: Path) -> None:
    path = write(tmp_path, '{"id": "1", "prompt": "a", "source": "web", "meta": {"score": 2}}')
    assert list(read_jsonl(path, Prompt)) == [Prompt("1", "a", {"score": 2, "source": "web"})]


def test_a_key_that_would_overwrite_one_in_meta_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, '{"id": "1", "prompt": "a", "source": "web", "meta": {"source": "book"}}')
    with pytest.raises(RedpencilError, match=r"rows\.jsonl:1 \[source\]"):
        list(read_jsonl(path, Prompt))


def test_meta_of_another_type_is_refused_also_beside_unknown_keys() -> None:
    with pytest.raises(RedpencilError) as caught:
        parse_record({"id": "1", "prompt": "a", "meta": [1], "source": "web"}, Prompt)
    assert caught.value.field == "meta"


def test_blank_lines_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path, b'\xef\xbb\xbf\r\n{"id": "1", "prompt": "a"}\r\n  \n\n{"id": "2", "prompt": "b"}')
    assert list(read_jsonl(path, Prompt)) == [Prompt("1", "a"), Prompt("2", "b")]
    path = write(tmp_path, b'\xef\xbb\xbf{"id": "1", "prompt": "a"}\n')
    assert list(read_jsonl(path, Prompt)) == [Prompt("1", "a")]


def test_a_file_of_records_is_read_anew_each_time_and_as_a_stream(tmp_path: Path) -> None:
    path = write(tmp_path, '{"id": "1", "prompt": "a"}\nbroken')
    rows = JsonlFile(path, Prompt)
    assert [next(iter(rows)) for _ in range(2)] == [Prompt("1", "a")] * 2
    write(tmp_path, '{"id": "2", "prompt": "b"}')
    assert list(rows) == [Prompt("2", "b")]


def test_lines_are_counted_for_progress_only(tmp_path: Path) -> None:
    assert count_lines(write(tmp_path, "a\nb\n")) == 2
    assert count_lines(tmp_path / "nowhere") == count_lines(tmp_path) == 0


def test_numbers_that_json_does_not_know_pass(tmp_path: Path) -> None:
    path = write(tmp_path, '{"id": "1", "prompt": "a", "score": NaN, "best": Infinity}')
    (record,) = read_jsonl(path, Prompt)
    assert record.meta["score"] != record.meta["score"]
    assert record.meta["best"] == float("inf")


GOOD = '{"id": "1", "prompt": "a", "response": "b"}\n'


@pytest.mark.parametrize(
    ("second_line", "field", "problem"),
    [
        ('{"id": "2", "prompt": "a"}', "response", "field required in a row of Example (fields present: id, prompt)"),
        ('{"id": 2, "prompt": "a", "response": "b"}', "id", "input should be a valid string"),
        ('{"id": "2", "prompt": null, "response": "b"}', "prompt", "input should be a valid string"),
        ('["2", "a", "b"]', None, "expected a JSON object, found list"),
        ('{"id": "2"', None, "not valid JSON (Expecting ',' delimiter at column 11)"),
        (b'{"id": "2\xff"}', None, "not valid UTF-8 at byte 9 of the line"),
        (r'{"id": "2", "prompt": "a", "response": "\ud83d"}', "response", "half of a surrogate pair"),
        (r'{"id": "2", "prompt": "a", "response": "b", "x": [{"y": "\uDE00"}]}', "x", "half of a surrogate pair"),
        (r'{"id": "2", "prompt": "a", "response": "b", "\ud83d": 1}', r"\ud83d", "half of a surrogate pair"),
        ('{"id": "2", "x": ' + "1" * 5000 + "}", None, "JSON that cannot be read"),
        ("[" * 200_000, None, "JSON that cannot be read"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(
    tmp_path: Path, second_line: str | bytes, field: str | None, problem: str
) -> None:
    second = second_line.encode() if isinstance(second_line, str) else second_line
    path = write(tmp_path, GOOD.encode() + second + b"\n")
    rows = read_jsonl(path, Example)
    assert next(rows) == Example("1", "a", "b")
    with pytest.raises(RedpencilError) as caught:
        next(rows)
    error = caught.value
    assert (error.file, error.line, error.field) == (str(path), 2, field)
    assert problem in error.problem
    assert error.hint
    str(error).encode("utf-8")


def test_a_whole_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path, r'{"id": "1", "prompt": "\ud83d\ude00 and the text \\ud83d"}')
    assert list(read_jsonl(path, Prompt)) == [Prompt("1", "😀 and the text \\ud83d")]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(RedpencilError, match=r"rows\.jsonl: the file holds no Prompt row"):
        list(read_jsonl(write(tmp_path, content), Prompt))


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"nowhere\.jsonl: no such file"):
        list(read_jsonl(tmp_path / "nowhere.jsonl", Prompt))
    with pytest.raises(RedpencilError, match=r"cannot read it \(Is a directory\)"):
        list(read_jsonl(tmp_path, Prompt))


def test_reading_streams(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    row = json.dumps({"id": "1", "prompt": "a" * 1000}) + "\n"
    path.write_text(row * 50_000)
    tracemalloc.start()
    rows = read_jsonl(path, Prompt)
    assert next(rows).id == "1"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    rows.close()
    assert path.stat().st_size > 50_000_000
    assert peak < 1_000_000


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [Prompt("old", "a")])

    def broken() -> Iterator[Prompt]:
        yield Prompt("new", "b")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, broken())
    assert list(read_jsonl(path, Prompt)) == [Prompt("old", "a")]
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [Prompt("old", "a")])
    script = (
        "import os, signal, sys\n"
        "from redpencil.records import Prompt, write_jsonl\n"
        "def rows():\n"
        "    for number in range(10_000):\n"
        "        yield Prompt(str(number), 'b' * 100)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_jsonl(sys.argv[1], rows())\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, os.fspath(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(read_jsonl(path, Prompt)) == [Prompt("old", "a")]
    assert write_jsonl(path, [Prompt("new", "b")]) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_surrogate_pair_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(RedpencilError, match=r"rows\.jsonl:2 \[prompt\]: half of a surrogate pair"):
        write_jsonl(path, [Prompt("1", "a"), Prompt("2", "b\ud83d")])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RedpencilError, match="cannot write it"):
        write_jsonl(tmp_path / "file" / "rows.jsonl", [Prompt("1", "a")])
    with pytest.raises(RedpencilError, match="there is a folder of this name"):
        write_jsonl(tmp_path, [Prompt("1", "a")])


def test_records_are_frozen() -> None:
    prompt = Prompt("1", "a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        prompt.prompt = "b"  # type: ignore[misc]


def test_a_row_of_another_kind_names_the_fields_and_the_way_in() -> None:
    with pytest.raises(RedpencilError) as caught:
        parse_record({"prompt": "p", "chosen": "a", "rejected": "b"}, Response)
    assert "a Response row has the fields: id, prompt, response" in str(caught.value.hint)
    assert "`redpencil import`" in str(caught.value.hint)
    with pytest.raises(RedpencilError) as caught:
        parse_record({"prompt": "p"}, Edit)
    assert str(caught.value.hint).startswith("an Edit row has the fields: ")


def test_the_column_of_an_error_in_json(tmp_path: Path) -> None:
    path = write(tmp_path, '{"id": "1", "prompt": \n')
    with pytest.raises(RedpencilError, match=r"rows\.jsonl:1: not valid JSON \(Expecting value at column 22\)"):
        list(read_jsonl(path, Prompt))


def test_a_line_without_end_does_not_take_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redpencil.records.LONGEST_LINE", 50)
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b'{"id": "1", "prompt": "p"}\n' + b" " * 1000)
    with pytest.raises(RedpencilError, match="a line of more than") as caught:
        list(read_jsonl(path, Prompt))
    assert caught.value.line == 2


def test_a_prompt_is_the_instruction_a_blank_line_and_the_input() -> None:
    assert full_prompt("Name it.", "a cat") == "Name it.\n\na cat"
    assert full_prompt("Name it.", "") == "Name it."


@pytest.mark.parametrize(
    ("prompt", "meta", "instruction"),
    [
        ("Name it.\n\na cat", {"instruction": "Name it.", "input": "a cat"}, "Name it."),
        ("Name it.", {"instruction": "Name it.", "input": "a cat"}, "Name it."),
        ("Call it.\n\na cat", {"instruction": "Name it.", "input": "a cat"}, "Call it.\n\na cat"),
        ("Name it.\n\n", {"instruction": "Name it.", "input": ""}, "Name it.\n\n"),
        ("Name it.\n\na cat", {"input": "a cat"}, "Name it.\n\na cat"),
        ("Name it.\n\n7", {"instruction": "Name it.", "input": 7}, "Name it.\n\n7"),
    ],
)
def test_the_instruction_of_a_prompt_that_holds_its_input(prompt: str, meta: dict[str, Any], instruction: str) -> None:
    assert instruction_of(prompt, meta) == instruction


def test_an_input_that_is_not_a_text_names_the_record() -> None:
    assert [input_of("r9", meta) for meta in ({}, {"input": None}, {"input": "a cat"})] == ["", "", "a cat"]
    with pytest.raises(RedpencilError, match="the input of 'r9' is a list, not a text"):
        input_of("r9", {"input": ["b"]})


def test_an_entry_whose_name_is_taken_is_renamed() -> None:
    assert merge_meta({"kept": "a", "topic": 1}, {"kept": 0.5}) == {"topic": 1, "response_kept": "a", "kept": 0.5}
    assert merge_meta({"retry": 1}, {"kept": 0.5}, frozenset({"retry"})) == {"response_retry": 1, "kept": 0.5}
    own = {"kept": "a", "response_kept": "b"}
    assert merge_meta(own, {"kept": 1}) == {"response_kept": "b", "response_response_kept": "a", "kept": 1}


def test_skipped_edits_are_counted_and_the_others_come_in_order() -> None:
    def edit(original: str, edited: str, outcome: EditOutcome = EditOutcome.EDITED) -> Edit:
        return Edit("1", "q", original, edited, outcome=outcome)

    good, other = edit("a", "b"), edit("a c", "a")
    edits = [
        good,
        edit("a", "a"),
        edit("a", "a"),
        edit("", "b"),
        edit("", "", EditOutcome.EMPTY),
        edit("a", " "),
        edit("a", "b", EditOutcome.TRUNCATED),
        edit("a", "a", EditOutcome.REFUSED),
        edit("a", "a", EditOutcome.EMPTY),
        edit("a", "a", EditOutcome.UNCHANGED),
        other,
    ]
    usable, skipped = split_usable(iter(edits))
    assert usable == [good, other]
    assert skipped == Counter(
        {
            "equal to its original": 2,
            "empty response": 2,
            "empty edit": 1,
            "truncated": 1,
            "refused": 1,
            "empty": 1,
            "unchanged": 1,
        }
    )
    assert len(usable) + skipped.total() == len(edits)


@pytest.mark.parametrize(
    ("value", "finished"),
    [
        (True, True),
        (None, True),
        (False, False),
        ("false", False),
        (" False", False),
        (0, False),
        ("TRUE", True),
        ("0.0", False),
        ("1.0", True),
        (1, True),
    ],
)
def test_a_text_is_finished_unless_its_meta_says_otherwise(value: object, finished: bool) -> None:
    assert says_finished(Example("1", "p", "r", {"finished": value})) is finished
    assert says_finished(Example("1", "p", "r", {"torn": value}), "torn") is finished
    assert says_finished(Example("1", "p", "r"))


@pytest.mark.parametrize("value", ["length", "", 2, 0.5, [], {"reason": "stop"}])
def test_what_does_not_say_whether_a_text_is_finished_is_refused(value: object) -> None:
    with pytest.raises(RedpencilError, match="'row-7' does not say whether") as raised:
        says_finished(Example("row-7", "p", "r", {"finished": value}))
    assert raised.value.field == "meta.finished"
