"""An edit as a chain of smaller ones: its changes one after the other, from front to back."""

from redpencil.alignment.words import diff_words


def hunk_chain(original: str, edited: str) -> list[str]:
    """Return the texts between an original and its edit, both included; each changes one place of the one before.

    An edit of k hunks gives k + 1 texts, and so k pairs of neighbours that differ in one hunk only.
    """
    hunks = [block for block in diff_words(original, edited) if block.kind != "equal"]
    return [original, *(edited[: hunk.edited[1]] + original[hunk.original[1] :] for hunk in hunks)]
