"""What is exported and imported again is the same: every format, its real writer and its real reader."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.formats.base import RECORDS, Kind
from redpencil.formats.conversations import render
from redpencil.formats.datasets import open_source
from redpencil.formats.reading import Skipped, Tally, Wanted, read_records
from redpencil.formats.registry import FORMATS
from redpencil.formats.writing import HOLDS, Format, Written, export, skipped_file
from redpencil.records import Comparison, Edit, EditOutcome, Example, Preference, Prompt, Response

texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('\n\r\t\u2028\u0085\ufeff😀👩‍👩‍👧"\\{[\x00')),
    max_size=30,
)
numbers = st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
plain = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), numbers, texts)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
names = texts | st.sampled_from(["id", "prompt", "meta", "messages", "chosen", "editor", "outcome", "input", "score"])
metas = st.dictionaries(names, values, max_size=3)
roles = st.sampled_from(["system", "user", "assistant"])
messages = st.lists(
    st.fixed_dictionaries({"role": roles, "content": texts}, optional={"name": st.none() | texts}), max_size=4
)


@st.composite
def prompts(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A prompt with its meta: a text, or a conversation of several messages as the readers keep it."""
    meta = draw(metas)
    turns = draw(messages)
    if not turns:
        return draw(texts), meta
    return render(turns), {**meta, "messages": turns}


def record_of(kind: Kind, id_: str, prompt: tuple[str, dict[str, Any]], draw: st.DrawFn) -> Any:
    text, meta = prompt
    match kind:
        case Kind.PROMPTS:
            return Prompt(id_, text, meta)
        case Kind.EXAMPLES:
            return Example(id_, text, draw(texts), meta)
        case Kind.RESPONSES:
            return Response(id_, text, draw(texts), draw(texts), draw(st.booleans()), meta)
        case Kind.COMPARISONS:
            preference = draw(st.sampled_from(Preference))
            return Comparison(id_, text, draw(texts), draw(texts), preference, draw(texts), meta)
        case Kind.EDITS:
            original = draw(texts)
            edited = draw(st.just(original) | texts)
            outcome = draw(st.just(EditOutcome.EDITED) | st.sampled_from(EditOutcome))
            return Edit(id_, text, original, edited, draw(texts), outcome, meta)


@st.composite
def many(draw: st.DrawFn, kind: Kind) -> list[Any]:
    """Records of one kind, with ids of their own."""
    ids = draw(st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True))
    return [record_of(kind, id_, draw(prompts()), draw) for id_ in ids]


def fits(format_: Format, record: Any) -> bool:
    """Whether a format has a place for a record: preference formats for a correction, or a choice of two texts."""
    if format_ in (Format.REDPENCIL, Format.PARQUET):
        return True
    if isinstance(record, Comparison):
        return record.preference in (Preference.FIRST, Preference.SECOND) and record.first != record.second
    return not isinstance(record, Edit) or (
        record.outcome is EditOutcome.EDITED and "".join(record.original.split()) != "".join(record.edited.split())
    )


def reader_of(format_: Format, kind: Kind) -> str:
    if format_ is Format.FIGA:
        return "figa"
    if format_ in (Format.REDPENCIL, Format.PARQUET):
        return "redpencil"
    return {Kind.PROMPTS: "trl-prompt", Kind.COMPARISONS: "trl-preference", Kind.EDITS: "trl-preference"}.get(
        kind, "trl-messages"
    )


def read(path: Path, format_: Format, kind: Kind) -> list[Any]:
    skipped: list[Skipped] = []
    wanted = Wanted(FORMATS[reader_of(format_, kind)], kind, restore_spacing=False)
    with open_source(str(path)) as source:
        found = list(read_records(source, wanted, Tally(), skipped.append))
    assert not skipped
    return found


@pytest.mark.parametrize("kind", Kind)
@settings(max_examples=60)
@given(data=st.data())
def test_what_is_read_back_is_what_was_written(
    kind: Kind, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same records in every format that has a place for their kind."""
    records = data.draw(many(kind))
    folder = tmp_path_factory.mktemp("round")
    for format_ in Format:
        if RECORDS[kind] in HOLDS[format_] and any(fits(format_, record) for record in records):
            check(records, format_, kind, folder / format_)


def check(records: Sequence[Any], format_: Format, kind: Kind, out: Path) -> None:
    """Write and read records: what fits comes back, the rest stands in the side file."""
    done = export(records, RECORDS[kind], format_, out)
    assert read(out, format_, kind) == [record for record in records if fits(format_, record)], format_
    rest = [record for record in records if not fits(format_, record)]
    assert done == Written(len(records) - len(rest), done.skipped, skipped_file(out) if rest else None), format_
    if rest:
        listed = [json.loads(line)["record"] for line in skipped_file(out).read_bytes().split(b"\n")[:-1]]
        side = out.with_name("side.jsonl")
        side.write_text("".join(json.dumps(row) + "\n" for row in listed), encoding="utf-8")
        assert read(side, Format.REDPENCIL, kind) == rest, format_


TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
TOOLS = [*TURNS, {"role": "assistant", "content": "I ask."}, {"role": "tool", "content": "Ann"}]
EDITS = [
    Edit("1", "Who?", "It was Ann.", "It was Bob.", "ed", meta={"n": 1}),
    Edit("2", "", "", "\n😀\t\u2028", meta={"n": "text", "deep": [{"a": None}]}),
    Edit("3", render(TURNS), "a", "b", meta={"messages": TURNS}),
    Edit("4", render(TOOLS), "a", "b", meta={"messages": TOOLS}),
]
COMPARISONS = [
    Comparison("1", "Who?", "a", "b", Preference.SECOND, "ann", {"n": 1}),
    Comparison("2", "", "a", "", Preference.FIRST, meta={"n": [1]}),
]
TYPES = {
    Format.TRL: {"prompt": "string", "chosen": "string", "rejected": "string", "meta": "string"},
    Format.TRL_CONVERSATIONAL: {
        name: {"role": "string", "content": "string"} for name in ("prompt", "chosen", "rejected")
    },
}
"""Of TRL's preference type, https://huggingface.co/docs/trl/dataset_formats: texts, or lists of messages."""


def type_of(feature: Any) -> Any:
    """A column's type in words; a list has that of its elements."""
    if isinstance(feature, dict):
        return {name: type_of(one) for name, one in feature.items()}
    return type_of(feature.feature) if hasattr(feature, "feature") else feature.dtype


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format_", "kind", "records"),
    [
        *((format_, Kind.EDITS, EDITS) for format_ in Format if format_ is not Format.REDPENCIL),
        *((format_, Kind.COMPARISONS, COMPARISONS) for format_ in (*TYPES, Format.PARQUET)),
    ],
)
def test_the_library_datasets_gives_the_same_rows(
    format_: Format, kind: Kind, records: Sequence[Any], tmp_path: Path
) -> None:
    """Though each row's meta has keys and types of its own."""
    import datasets

    out = tmp_path / "rows"
    export(records, RECORDS[kind], format_, out)
    builder = "parquet" if format_ is Format.PARQUET else "json"
    rows = datasets.load_dataset(builder, data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    found = {name: type_of(rows.features[name]) for name in TYPES.get(format_, {})}
    assert found == TYPES.get(format_, {})
    rows.save_to_disk(tmp_path / "saved")
    assert read(tmp_path / "saved", format_, kind) == records
