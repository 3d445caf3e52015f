"""The error a user reads."""

import pickle
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError


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


def test_nothing_is_lost_on_the_way_from_a_worker_process() -> None:
    error = RedpencilError("it broke", file="a.jsonl", line=3, field="id", hint="mend it")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, RedpencilError)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
