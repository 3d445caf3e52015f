"""What reward models say of responses, token by token: one model, or two side by side.

Blue is reward and orange is blame, in the palette of Okabe and Ito that colour-blind people can tell apart; blame is
underlined as well. All that stands on one page shares one scale of colour.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from redpencil.report.run_page import TEMPLATES, template
from redpencil.report.text import BLAME_RGB, DEEPEST, REWARD_RGB, depth_of, signed, terminal_style, turns

if TYPE_CHECKING:
    from rich.text import Text

END = "end"
"""What stands for the end-of-sequence token, which has no text of its own."""
NOTHING = "\N{MIDDLE DOT}"
"""What stands for any other token without text."""
APART = 5.0
"""From this ratio of their largest rewards on, one scale of colour does not do two models justice."""


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """A model as the page names it; `center` and `scale` are of its card, and `level` is token or sequence."""

    name: str
    level: str
    center: float
    scale: float
    trained_on: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one model says of one response.

    `reward` is that of the response as the model gives it: its only one, or the mean of its tokens' (Eq. 1). `offsets`
    are the spans of its tokens in the response; `rewards` are those of the tokens as they are shown, less the model's
    centre. A sequence model has neither.
    """

    reward: float
    offsets: tuple[tuple[int, int], ...]
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A response and what each model says of it."""

    prompt: str
    response: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a response: what one token covers, or several that share characters; or what none does (None)."""

    text: str
    reward: float | None
    tokens: int = 1
    is_end: bool = False


def pieces_of(response: str, reading: Reading) -> list[Piece]:
    """The whole response in order, cut where the tokens are; the pieces' rewards add up to those of the tokens."""
    pieces: list[Piece] = []
    reached = 0
    grouped = list(_groups(reading))
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


def _groups(reading: Reading) -> Iterator[tuple[int, int, float, int]]:
    """Neighbouring tokens that share characters as one: start, end, sum of the rewards, how many tokens."""
    group: tuple[int, int, float, int] | None = None
    for (start, end), reward in zip(reading.offsets, reading.rewards, strict=True):
        if group is not None and start < min(end, group[1]):
            group = min(group[0], start), max(group[1], end), group[2] + reward, group[3] + 1
            continue
        if group is not None:
            yield group
        group = start, end, reward, 1
    if group is not None:
        yield group


def limit_of(rows: Sequence[Row]) -> float:
    """The largest magnitude of a piece's reward, which gets the strongest colour."""
    return max((abs(piece.reward or 0.0) for row in rows for r in row.readings for piece in pieces_of(row.response, r)),
               default=0.0)  # fmt: skip


def scores_text(response: str, reading: Reading, limit: float) -> "Text":
    """A heat-map for a terminal."""
    from rich.text import Text

    text = Text()
    for piece in pieces_of(response, reading):
        space, shown = _shown(piece)
        text.append(space)
        text.append(shown, style="" if piece.reward is None else terminal_style(piece.reward, limit))
    return text


def scores_line(response: str, reading: Reading) -> str:
    """The same where there are no colours: each piece with its number."""
    parts = []
    for piece in pieces_of(response, reading):
        text = " ".join("".join(_shown(piece)).split())
        parts.append(text if piece.reward is None else f"{text or NOTHING}({piece.reward:+.2f})")
    return " ".join(filter(None, parts))


def _shown(piece: Piece) -> tuple[str, str]:
    """What stands before the colour, and what is coloured: a token's leading white space is not."""
    text = piece.text.lstrip()
    space = piece.text[: len(piece.text) - len(text)]
    if piece.reward is None:
        return piece.text, ""
    if piece.is_end:
        return " ", END
    return space, text or NOTHING


def scores_page(rows: Sequence[Row], models: Sequence[ScoredModel], *, standardised: bool = False) -> str:
    """A page of its own with the heat-maps of every response, for one model or two.

    Args:
        rows: the responses, each with one reading for each model.
        models: the models, in the order of the readings.
        standardised: whether the token rewards are divided by each model's scale, as PPO pays them.
    """
    limit = limit_of(rows)
    return template("scores.html.j2").render(
        style=Markup((TEMPLATES / "scores.css").read_text(encoding="utf-8")),
        models=models,
        rows=[_shown_row(row, models, limit) for row in rows],
        limit=signed(limit, 2).lstrip("+"),
        colours={"reward": _rgb(REWARD_RGB), "blame": _rgb(BLAME_RGB), "deepest": DEEPEST},
        has_tokens=any(model.level == "token" for model in models),
        standardised=standardised,
        notes=page_notes(rows, models, standardised),
    )


def page_notes(rows: Sequence[Row], models: Sequence[ScoredModel], standardised: bool) -> list[str]:
    """What a reader must know before comparing numbers, in sentences."""
    notes = []
    tokens = [model for model in models if model.level == "token"]
    for model in tokens:
        if model.trained_on == "unknown":
            notes.append(f"{model.name} has no card, so nothing is taken off its rewards.")
    if tokens and not standardised:
        centres = ", ".join(f"{signed(model.center, 3)} ({model.name})" for model in tokens)
        notes.append(f"Token rewards are shown less their model's centre: {centres}.")
    if tokens and standardised:
        notes.append("Token rewards are shown less their model's centre and divided by its scale, as PPO pays them.")
    if len(tokens) > 1:
        notes.append("Both models share one scale of colour.")
        largest = sorted(_largest(rows, index) for index, model in enumerate(models) if model.level == "token")
        if not standardised and largest[0] > 0 and largest[1] >= APART * largest[0]:
            notes.append(
                f"One model's largest reward is {largest[1] / largest[0]:.0f} times the other's; --standardise divides "
                "each by its own scale."
            )
    return notes


def _largest(rows: Sequence[Row], index: int) -> float:
    return limit_of([Row(row.prompt, row.response, (row.readings[index],)) for row in rows])


def _shown_row(row: Row, models: Sequence[ScoredModel], limit: float) -> dict[str, object]:
    readings = []
    for model, reading in zip(models, row.readings, strict=True):
        pieces = pieces_of(row.response, reading) if model.level == "token" else []
        readings.append(
            {
                "model": model,
                "reward": signed(reading.reward, 3),
                "pieces": [_shown_piece(piece, limit) for piece in pieces],
            }
        )
    return {"prompt": row.prompt, "response": row.response, "readings": readings}


def _shown_piece(piece: Piece, limit: float) -> dict[str, object]:
    space, text = _shown(piece)
    if piece.reward is None:
        return {"space": space, "text": "", "value": None, "turns": turns(space)}
    depth = depth_of(piece.reward, limit)
    blame = piece.reward < 0 and depth > 0
    style = ""
    if depth:
        # The underline grows with the blame, so that strength too is told twice.
        line = f";--thick:{1 + 2 * depth / DEEPEST:.1f}px" if blame else ""
        style = f"--depth:{depth:.2f}{line}"
    value = signed(piece.reward, 2) + (f" ({piece.tokens} tokens)" if piece.tokens > 1 else "")
    tone = "" if not depth else "blame" if blame else "reward"
    kinds = ("end" if piece.is_end else "", tone, "isolated" if turns(text) else "")
    shown = {"space": space, "text": text, "value": value, "style": style, "turns": False}
    return shown | {"kind": " ".join(filter(None, kinds))}


def _rgb(rgb: tuple[int, int, int]) -> str:
    return f"{rgb[0]} {rgb[1]} {rgb[2]}"
