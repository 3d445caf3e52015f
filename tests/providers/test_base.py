"""Keys of requests."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from redpencil.providers.base import Message, request_key

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
