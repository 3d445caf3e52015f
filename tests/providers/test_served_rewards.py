"""What a server that pools answers, read or refused."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers.served_rewards import sequence_scores, token_scores


@dataclass
class Answers:
    """Stands where the connection is, which has tests of its own; it gives answers in another order than asked."""

    answers: Sequence[Any]
    address: str = "http://host"
    field: str = "compute.reward_servers.token.url"

    def each(self, path: str, bodies: Sequence[Mapping[str, Any]], concurrency: int) -> Iterator[tuple[int, Any]]:
        assert concurrency == 2
        self.path, self.bodies = path, list(bodies)
        yield from reversed(list(enumerate(self.answers)))


ROWS = [([1, 2], [3, 4]), ([5], [6])]


def pooled(*rows: Any) -> list[Any]:
    return [{"data": [{"index": 0, "object": "pooling", "data": row}]} for row in rows]


def tokens(answers: Sequence[Any], **options: Any) -> tuple[Any, Answers]:
    server = Answers(answers)
    options = {"heads": 1, "twice": False, **options}
    return token_scores(server, "m", ROWS, concurrency=2, **options), server  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", ["rows", "flat"])
def test_the_numbers_of_the_responses_are_the_last_ones(shape: str) -> None:
    numbers = [[0.1, 0.2, 0.3, 0.4], [1, 2.5]]
    rows = numbers if shape == "flat" else [[[number] for number in row] for row in numbers]
    scores, server = tokens(pooled(*rows))
    assert scores == [[[0.3], [0.4]], [[2.5]]]
    assert server.path == "/pooling"
    assert [body["input"] for body in server.bodies] == [[1, 2, 3, 4], [5, 6]]
    for body in server.bodies:
        assert body | {"input": 0} == {"model": "m", "task": "token_classify", "use_activation": False, "input": 0}


def test_two_heads_and_a_second_reading() -> None:
    rows = [[[float(i), -float(i)] for i in range(6)], [[float(i), 0.0] for i in range(3)]]
    scores, server = tokens(pooled(*rows), heads=2, twice=True)
    assert scores == [[[4.0, -4.0], [5.0, -5.0]], [[2.0, 0.0]]]
    assert [body["input"] for body in server.bodies] == [[1, 2, 3, 4, 3, 4], [5, 6, 6]]


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], {}, {"data": []}, {"data": [1]}, {"data": [{"data": "AAAA"}]}, {"data": [{"probs": [0.1]}]}),
        *(pooled([0.1])[0], pooled([0.1] * 3)[0], pooled([[0.1, 0.2]] * 4)[0], pooled(["a"] * 4)[0]),
        *(pooled([None] * 4)[0], pooled([True] * 4)[0], pooled([[]] * 4)[0]),
    ],
    ids=str,
)
def test_anything_else_is_refused(answer: Any) -> None:
    with pytest.raises(RedpencilError, match="not the rewards of such a reward model") as caught:
        tokens([answer, pooled([0.1, 0.2])[0]])
    assert caught.value.field == "compute.reward_servers.token.url"
    assert "token_classify" in (caught.value.hint or "")


def test_sequence_models_give_one_number() -> None:
    server = Answers([{"data": [{"probs": [0.5]}]}, {"data": [{"probs": [-2]}]}])
    assert sequence_scores(server, "m", ROWS, concurrency=2) == [0.5, -2.0]  # type: ignore[arg-type]
    assert (server.path, server.bodies[1]) == ("/classify", {"model": "m", "input": [5, 6], "use_activation": False})
    for probs in ([], [0.1, 0.9], None):
        with pytest.raises(RedpencilError, match="not one number"):
            sequence_scores(Answers([{"data": [{"probs": probs}]}] * 2), "m", ROWS, concurrency=2)  # type: ignore[arg-type]
