"""A function as a provider."""

from redpencil.providers.base import Completion, Message, StopReason
from redpencil.providers.scripted import ScriptedProvider


def test_the_function_sees_what_the_human_said_and_its_text_is_the_answer() -> None:
    provider = ScriptedProvider("shout", str.upper)
    messages = [
        Message("system", "be kind"),
        Message("user", "one"),
        Message("assistant", "two"),
        Message("user", "three"),
        Message("assistant", "primed:"),
    ]
    assert provider.name == "shout"
    assert provider.complete(messages) == Completion("ONE\n\nTHREE", StopReason.END)
