"""Markdown as people see it, safely: no HTML of the text, no images, no links that hide their address."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token


def render_markdown(text: str) -> str:
    """HTML of a Markdown text. What it holds of HTML is shown as text, and nothing in it loads or runs."""
    return str(_renderer().render(text))


@cache
def _renderer() -> MarkdownIt:
    renderer = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
    renderer.core.ruler.push("make_safe", _make_safe)
    return renderer


def _make_safe(state: Any) -> None:
    """Work on the tokens of a text: links, and columns, whose alignment the page's policy allows as a class only."""
    for token in state.tokens:
        if token.type == "inline" and token.children:
            token.children = _with_addresses(token.children)
        style = str(token.attrs.pop("style", ""))
        if style:
            token.attrSet("class", style.replace("text-align:", "align-"))


def _with_addresses(tokens: Sequence[Token]) -> list[Token]:
    """Let each link open apart, tell nothing to where it leads, and show its address beside its text."""
    shown: list[Token] = []
    address, text = "", ""
    for token in tokens:
        if token.type == "link_open":
            address, text = str(token.attrGet("href") or ""), ""
            token.attrSet("rel", "noopener noreferrer nofollow")
            token.attrSet("target", "_blank")
        text += token.content
        shown.append(token)
        if token.type == "link_close" and text != address:
            shown.append(Token("text", "", 0, content=f" ({address})"))
    return shown
