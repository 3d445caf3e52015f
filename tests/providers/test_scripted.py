"""A provider that is a function."""

from redpencil.providers.base import Completion, Message, Request, StopReason
from redpencil.providers.scripted import ScriptedProvider


def test_it_hears_only_what_the_human_said_and_ends_by_itself() -> None:
    provider = ScriptedProvider("shout", str.upper)
    messages = (Message("system", "be loud"), Message("user", "one"), Message("assistant", "two"))
    requests = [Request("a" * 64, (*messages, Message("user", "three"))), Request("b" * 64, (Message("user", "four"),))]
    assert list(provider.answer(requests)) == [
        (requests[0], Completion("ONE\n\nTHREE", StopReason.END)),
        (requests[1], Completion("FOUR")),
    ]


def test_requests_are_drawn_one_by_one() -> None:
    drawn: list[int] = []

    def endless():  # type: ignore[no-untyped-def]
        while True:
            drawn.append(len(drawn))
            yield Request("a" * 64, (Message("user", "x"),))

    answers = ScriptedProvider("same", str).answer(endless())
    next(answers)
    assert drawn == [0]


def test_it_is_known_by_its_name() -> None:
    provider = ScriptedProvider("shout", str.upper)
    assert (provider.name, provider.identity) == ("shout", {"provider": "scripted", "model": "shout"})
