"""Messages and completions are values."""

import dataclasses

import pytest

from redpencil.providers.base import Completion, Message, StopReason


def test_a_completion_ends_by_itself_unless_told_otherwise() -> None:
    assert Completion("text").stop_reason is StopReason.END
    assert StopReason("length") is StopReason.LENGTH


def test_messages_and_completions_cannot_be_changed() -> None:
    for value in (Message("user", "hello"), Completion("text")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, "x")
