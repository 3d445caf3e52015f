"""Errors on their way from one process to another: as JSON, and back."""

import traceback
from collections.abc import Mapping
from typing import Any

from redpencil.errors import RedpencilError, WaitingError, from_system


class OutOfMemoryError(RuntimeError):
    """A GPU's memory was full in a worker; it has the name of torch's error, by which the command line knows it."""


def error_to_json(error: Exception) -> dict[str, Any]:
    """An error as a worker reports it, with the fields that decide what the user reads."""
    told = error if isinstance(error, RedpencilError) else from_system(error)
    if told is not None:
        kind = WaitingError if isinstance(told, WaitingError) else RedpencilError
        return {"kind": kind.__name__, **vars(told)}
    return {
        "kind": "OSError" if isinstance(error, OSError) else type(error).__name__,
        "message": str(error),
        "errno": getattr(error, "errno", None),
        "strerror": getattr(error, "strerror", None),
        "filename": None if getattr(error, "filename", None) is None else str(error.filename),  # type: ignore[attr-defined]
        "traceback": "".join(traceback.format_exception(error)),
    }


def error_from_json(content: Mapping[str, Any]) -> Exception:
    """The error that a worker reported. Of an unexpected one, the worker's traceback is a note."""
    kind = content["kind"]
    told = {"RedpencilError": RedpencilError, "WaitingError": WaitingError}.get(kind)
    if told is not None:
        keys = ("file", "line", "field", "hint")
        return told(content["problem"], **{key: content[key] for key in keys})
    error: Exception
    if kind == "OSError" and content["errno"] is not None:
        error = OSError(content["errno"], content["strerror"], content["filename"])
    elif kind in ("OutOfMemoryError", "MemoryError"):
        error = {"OutOfMemoryError": OutOfMemoryError, "MemoryError": MemoryError}[kind](content["message"])
    else:
        error = RuntimeError(f"{kind}: {content['message']}")
    error.add_note(f"In a worker process:\n{content['traceback']}")
    return error


def follows_another(content: Mapping[str, Any]) -> bool:
    """Whether an error, as JSON, only says that another process of the group is gone."""
    kind, message = content["kind"], content.get("message", "")
    return kind.startswith("Dist") or (
        kind == "RuntimeError" and any(words in message for words in ("gloo/", "Connection closed by peer"))
    )
