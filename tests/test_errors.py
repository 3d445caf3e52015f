"""The error a user reads."""

from pathlib import Path

import pytest

from redpencil.errors import RedpencilError, naming


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RedpencilError("it broke"), "it broke"),
        (RedpencilError("it broke", file=Path("a.jsonl")), "a.jsonl: it broke"),
        (RedpencilError("it broke", file="a.jsonl", line=3), "a.jsonl:3: it broke"),
        (RedpencilError("it broke", file="a.jsonl", line=3, field="id"), "a.jsonl:3 [id]: it broke"),
        (RedpencilError("it broke", field="ppo.gamma"), "[ppo.gamma]: it broke"),
        (RedpencilError("it broke", file="a", hint="mend it"), "a: it broke\n  hint: mend it"),
    ],
)
def test_text_names_place_problem_and_hint(error: RedpencilError, text: str) -> None:
    assert str(error) == text


def test_an_error_about_a_files_content_gets_the_files_name() -> None:
    with pytest.raises(RedpencilError) as caught, naming(Path("a.jsonl")):
        raise RedpencilError("it broke", field="id", hint="mend it")
    assert vars(caught.value) == vars(RedpencilError("it broke", file="a.jsonl", field="id", hint="mend it"))


def test_an_error_that_names_its_file_keeps_it() -> None:
    with pytest.raises(RedpencilError) as caught, naming(Path("a.jsonl")):
        raise RedpencilError("it broke", file="b.jsonl", line=2)
    assert (caught.value.file, caught.value.line) == ("b.jsonl", 2)
