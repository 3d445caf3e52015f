"""Raw rewards of token ids from a server that pools: vLLM with `--runner pooling`, or `redpencil serve-reward`.

The forms are those of vLLM 0.33 (vllm/entrypoints/pooling): `/pooling` with the task `token_classify` gives the numbers
of every token that it was sent, `/classify` one row of numbers for all of it. The activation is off: rewards are what
the head gives, and not a sigmoid of it.
"""

from collections.abc import Sequence
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.providers.json_server import JsonServer

Row = tuple[Sequence[int], Sequence[int]]
"""Token ids of a prompt and of a response."""
_POOLING: Final = "start vLLM with --runner pooling --pooler-config.task token_classify; see docs/engines.md"
_CLASSIFY: Final = "start vLLM with --runner pooling, for a sequence reward model; see docs/engines.md"


def token_scores(
    server: JsonServer, model: str, rows: Sequence[Row], *, heads: int, twice: bool, concurrency: int
) -> list[list[list[float]]]:
    """Ask for what the heads of a token reward model give at each token of the responses.

    Args:
        server: the server.
        model: its name for the reward model.
        rows: prompts and responses.
        heads: how many numbers a token has.
        twice: whether the model reads a response twice, and is asked about the second reading.
        concurrency: requests in progress at once.

    Returns:
        By row, by token of the response, by head.

    Raises:
        RedpencilError: if the server cannot be reached, or answers with other than such numbers.
    """
    inputs = [[*prompt, *response, *(response if twice else ())] for prompt, response in rows]
    bodies = [{"model": model, "task": "token_classify", "input": ids, "use_activation": False} for ids in inputs]
    scores: list[list[list[float]]] = [[] for _ in rows]
    for index, content in server.each("/pooling", bodies, concurrency):
        data = _first(content).get("data")
        numbers = _numbers(data, heads)
        if numbers is None or len(numbers) != len(inputs[index]):
            got = len(data) if isinstance(data, list) else 0
            raise _broken(server, f"{got} rows of {heads} numbers for {len(inputs[index])} tokens", _POOLING)
        scores[index] = numbers[len(numbers) - len(rows[index][1]) :]
    return scores


def sequence_scores(server: JsonServer, model: str, rows: Sequence[Row], *, concurrency: int) -> list[float]:
    """Ask for the reward that a sequence reward model gives each prompt and response, as `token_scores`.

    Raises:
        RedpencilError: as `token_scores`.
    """
    bodies = [{"model": model, "input": [*prompt, *response], "use_activation": False} for prompt, response in rows]
    scores = [0.0 for _ in rows]
    for index, content in server.each("/classify", bodies, concurrency):
        numbers = _numbers(_first(content).get("probs"), 1)
        if numbers is None or len(numbers) != 1:
            raise _broken(server, "not one number for a response", _CLASSIFY)
        scores[index] = numbers[0][0]
    return scores


def _first(content: Any) -> dict[str, Any]:
    data = content.get("data") if isinstance(content, dict) else None
    return data[0] if isinstance(data, list) and len(data) == 1 and isinstance(data[0], dict) else {}


def _numbers(data: Any, heads: int) -> list[list[float]] | None:
    """Rows of so many numbers each; a model with one head may leave out the brackets around each number."""
    if not isinstance(data, list):
        return None
    rows = [row if isinstance(row, list) else [row] for row in data]
    fitting = all(len(row) == heads and all(type(number) in (int, float) for number in row) for row in rows)
    return [[float(number) for number in row] for row in rows] if fitting else None


def _broken(server: JsonServer, problem: str, hint: str) -> RedpencilError:
    return RedpencilError(
        f"not the rewards of such a reward model: {problem}", file=server.address, field=server.field, hint=hint
    )
