"""Keys of requests."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from redpencil.providers.base import Completion, Message, Request, ScriptedProvider, StopReason, request_key

turns = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text()), max_size=3)
identities = st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=3)


def test_a_key_is_the_hash_of_who_and_what() -> None:
    # Worked by hand: keys of the identity in order, then [role, content] of each turn.
    text = '[{"model": "m", "provider": "p"}, [["user", "h\\u00e9"]]]'
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert request_key({"provider": "p", "model": "m"}, [Message("user", "hé")]) == expected


@given(identities, turns, identities, turns)
def test_two_requests_share_a_key_only_if_they_are_the_same(
    who: dict[str, object], said: list[Message], other: dict[str, object], told: list[Message]
) -> None:
    same = who == other and said == told
    assert (request_key(who, said) == request_key(other, told)) == same
    assert request_key(dict(reversed(who.items())), said) == request_key(who, said)


def test_where_one_turn_ends_counts() -> None:
    assert request_key({}, [Message("user", "ab"), Message("user", "c")]) != request_key(
        {}, [Message("user", "a"), Message("user", "bc")]
    )


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
