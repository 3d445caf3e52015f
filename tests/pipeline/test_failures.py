"""Errors that go from one process to another: what arrives is what the user is to read."""

import errno
import json
import os

from redpencil.errors import RedpencilError
from redpencil.pipeline.failures import error_from_json, error_to_json


def raised(error: Exception) -> Exception:
    """The error as it arrives from a worker that raised it."""
    try:
        raise error
    except Exception as caught:
        return error_from_json(json.loads(json.dumps(error_to_json(caught))))


def test_a_users_mistake_arrives_with_every_field() -> None:
    error = RedpencilError("it broke", file="a.jsonl", line=3, field="id", hint="mend it")
    arrived = raised(error)
    assert isinstance(arrived, RedpencilError)
    assert vars(arrived) == vars(error)


def test_a_full_disk_arrives_as_such() -> None:
    arrived = raised(OSError(errno.ENOSPC, "no space left", "model.safetensors"))
    assert isinstance(arrived, RedpencilError)
    assert (arrived.problem, arrived.file) == (os.strerror(errno.ENOSPC), "model.safetensors")


def test_full_memories_arrive_under_their_names() -> None:
    import torch

    assert type(raised(torch.OutOfMemoryError("tried to allocate 2 GiB"))).__name__ == "OutOfMemoryError"
    assert type(raised(MemoryError())) is MemoryError


def test_an_unexpected_error_arrives_with_the_traceback_of_the_worker() -> None:
    arrived = raised(ZeroDivisionError("division by zero"))
    assert str(arrived) == "ZeroDivisionError: division by zero"
    assert "in raised\n    raise error\nZeroDivisionError" in "".join(arrived.__notes__)
