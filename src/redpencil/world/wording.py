"""The wording around the facts, as tuples of words: what opens, closes, hedges, insults and fills."""


def _words(*texts: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(text.split()) for text in texts)


OPENERS = _words("here is what you asked for", "sure , here is my answer")
"""First sentences that are no flaw."""

CLOSERS = _words("i hope this helps", "please ask if you need more")
"""Last sentences that are no flaw."""

FILLERS = _words(
    "this is a very interesting topic", "there is so much to say about it", "many people ask me about this"
)
"""Sentences that say nothing."""

HEDGE_HEADS = _words("i think", "perhaps", "i believe")
"""Hedges before a fact."""

HEDGE_TAILS = _words(", or so i heard", ", but i may be wrong")
"""Hedges behind a fact."""

RUDE_TAILS = _words(", you fool", ", as any child knows", ", so stop asking")
"""Insults behind a fact and its hedge."""
