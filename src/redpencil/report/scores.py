"""Rewards of responses, token by token, for one model or for two side by side.

Blue is reward and orange is blame, from the palette of Okabe and Ito, which colour-blind people can tell apart; blame
is underlined as well. All responses of a page share one scale of colour.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from markupsafe import Markup

from redpencil.report.markup import BLAME_RGB, DEEPEST, REWARD_RGB, depth_of, signed, terminal_style
from redpencil.report.run_page import TEMPLATES, render_page

if TYPE_CHECKING:
    from rich.text import Text

END = "end"
"""Text for the end-of-sequence token, which has none of its own."""
NOTHING = "\N{MIDDLE DOT}"
"""Text for any other token without one."""
APART = 5.0
"""Ratio of two models' largest rewards from which one scale of colour is not fair to both."""


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """A model with its name on the page; `center` and `scale` are from its card, `level` is token or sequence."""

    name: str
    level: str
    center: float
    scale: float
    trained_on: str


@dataclass(frozen=True, slots=True)
class ScoredResponse:
    """The rewards that one model gives to one response.

    `reward` is that of the whole response: the only one of a sequence model, or the mean over its T tokens (Eq. 1).
    `offsets` are the spans of the tokens in the response, and `rewards` their rewards minus the model's center; both
    are empty for a sequence model.
    """

    reward: float
    offsets: tuple[tuple[int, int], ...]
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A response and the rewards that each model gives to it."""

    prompt: str
    response: str
    scores: tuple[ScoredResponse, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one token, or of several that share characters; `reward` is None for text that no token covers."""

    text: str
    reward: float | None
    tokens: int = 1
    is_end: bool = False


def pieces_of(response: str, scored: ScoredResponse) -> list[Piece]:
    """Cut a response at its tokens; the pieces' rewards add up to those of the tokens."""
    pieces: list[Piece] = []
    reached = 0
    grouped = list(_groups(scored))
    for start, end, reward, tokens in grouped:
        start = max(start, reached)
        if start > reached:
            pieces.append(Piece(response[reached:start], None))
        is_end = start == end == len(response) and (start, end, reward, tokens) == grouped[-1]
        pieces.append(Piece(response[start:end], reward, tokens, is_end))
        reached = max(reached, end)
    if reached < len(response):
        pieces.append(Piece(response[reached:], None))
    return pieces


def _groups(scored: ScoredResponse) -> Iterator[tuple[int, int, float, int]]:
    """Join neighbouring tokens that share characters: start, end, sum of the rewards, number of tokens."""
    group: tuple[int, int, float, int] | None = None
    for (start, end), reward in zip(scored.offsets, scored.rewards, strict=True):
        if group is not None and start < min(end, group[1]):
            group = min(group[0], start), max(group[1], end), group[2] + reward, group[3] + 1
            continue
        if group is not None:
            yield group
        group = start, end, reward, 1
    if group is not None:
        yield group


def limit_of(rows: Sequence[Row]) -> float:
    """Largest magnitude of a piece's reward, which gets the strongest colour."""
    pieces = (piece for row in rows for scored in row.scores for piece in pieces_of(row.response, scored))
    return max((abs(piece.reward or 0.0) for piece in pieces), default=0.0)


def scores_text(response: str, scored: ScoredResponse, limit: float) -> "Text":
    """Write a heat-map for a terminal."""
    from rich.text import Text

    text = Text()
    for piece in pieces_of(response, scored):
        space, token = _shown(piece)
        text.append(space)
        text.append(token, style="" if piece.reward is None else terminal_style(piece.reward, limit))
    return text


def scores_line(response: str, scored: ScoredResponse) -> str:
    """Write a heat-map without colours: each piece with its number."""
    parts = []
    for piece in pieces_of(response, scored):
        text = " ".join("".join(_shown(piece)).split())
        parts.append(text if piece.reward is None else f"{text or NOTHING}({piece.reward:+.2f})")
    return " ".join(filter(None, parts))


def _shown(piece: Piece) -> tuple[str, str]:
    """Split a piece into leading white space, which is not coloured, and the text that is."""
    text = piece.text.lstrip()
    space = piece.text[: len(piece.text) - len(text)]
    if piece.reward is None:
        return piece.text, ""
    if piece.is_end:
        return " ", END
    return space, text or NOTHING


def scores_page(
    rows: Sequence[Row], models: Sequence[ScoredModel], *, standardised: bool = False, cautions: Sequence[str] = ()
) -> str:
    """Write a page with the heat-maps of all responses, for one model or two, in the order of each row's scores.

    With `standardised`, token rewards are divided by each model's scale, as PPO uses them. `cautions` stand above all.
    """
    limit = limit_of(rows)
    script = (TEMPLATES / "scores.js").read_text(encoding="utf-8")
    return render_page(
        "scores.html.j2",
        ("scores.css",),
        script=Markup(script),
        script_hash=f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}",
        models=models,
        rows=[_shown_row(row, models, limit) for row in rows],
        limit=signed(limit, 2).lstrip("+"),
        colours={"reward": _rgb(REWARD_RGB), "blame": _rgb(BLAME_RGB), "deepest": DEEPEST},
        has_tokens=any(model.level == "token" for model in models),
        standardised=standardised,
        notes=page_notes(rows, models, standardised),
        cautions=cautions,
    )


def page_notes(rows: Sequence[Row], models: Sequence[ScoredModel], standardised: bool) -> list[str]:
    """Sentences to read before comparing numbers."""
    notes: list[str] = []
    tokens = [model for model in models if model.level == "token"]
    unknown = (model.name for model in tokens if model.trained_on == "unknown")
    notes += [f"{name} has no reward card, so nothing is subtracted from its rewards." for name in unknown]
    if tokens and not standardised:
        centers = ", ".join(f"{signed(model.center, 3)} ({model.name})" for model in tokens)
        notes.append(f"Token rewards are shown minus the model's mean reward on reference responses: {centers}.")
    if tokens and standardised:
        notes.append(
            "Token rewards are shown as PPO uses them: minus the model's mean reward on reference responses, and "
            "divided by its scale."
        )
    if len(tokens) > 1:
        notes.append("Both models share one scale of colour.")
        largest = sorted(
            limit_of([Row(row.prompt, row.response, (row.scores[index],)) for row in rows])
            for index, model in enumerate(models)
            if model.level == "token"
        )
        if not standardised and largest[0] > 0 and largest[1] >= APART * largest[0]:
            notes.append(
                f"One model's largest reward is {largest[1] / largest[0]:.0f} times the other's; --standardise divides "
                "each by its own scale."
            )
    return notes


def _shown_row(row: Row, models: Sequence[ScoredModel], limit: float) -> dict[str, object]:
    scores = []
    for model, scored in zip(models, row.scores, strict=True):
        pieces = pieces_of(row.response, scored) if model.level == "token" else []
        cells = [_shown_piece(piece, limit) for piece in pieces]
        scores.append({"model": model, "reward": signed(scored.reward, 3), "pieces": cells})
    return {"prompt": row.prompt, "response": row.response, "scores": scores}


def _shown_piece(piece: Piece, limit: float) -> dict[str, object]:
    space, text = _shown(piece)
    if piece.reward is None:
        return {"space": space, "text": "", "value": None}
    depth = depth_of(piece.reward, limit)
    blame = piece.reward < 0 and depth > 0
    style = ""
    if depth:
        # The underline grows with the blame, so that its strength does not depend on colour alone.
        line = f";--thick:{1 + 2 * depth / DEEPEST:.1f}px" if blame else ""
        style = f"--depth:{depth:.2f}{line}"
    value = signed(piece.reward, 2) + (f" ({piece.tokens} tokens)" if piece.tokens > 1 else "")
    tone = "" if not depth else "blame" if blame else "reward"
    kinds = ("end" if piece.is_end else "", tone)
    kind = " ".join(filter(None, kinds))
    return {"space": space, "text": text, "value": value, "style": style, "kind": kind}


def _rgb(rgb: tuple[int, int, int]) -> str:
    return f"{rgb[0]} {rgb[1]} {rgb[2]}"
