"""A tokenizer's chat template: how it writes the turns of a conversation, and what it writes around them."""

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Final

from transformers import PreTrainedTokenizerBase

from redpencil.config.recipe import CHAT_DATE
from redpencil.errors import RedpencilError
from redpencil.turns import Turn

_CLOCK: Final = "strftime_now"
"""The function of chat templates that reads the clock."""
_DIRECTIVES: Final = [flag + letter for flag in ("", *"-_0^#EO") for letter in string.ascii_letters]
_PROBE: Final = "quagga"
"""A word that no template holds."""


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template of a tokenizer, with the variables that it is given and the date that it takes for today."""

    tokenizer: PreTrainedTokenizerBase
    variables: Mapping[str, Any] = field(default_factory=dict)
    today: date = CHAT_DATE

    @cached_property
    def source(self) -> str:
        """The template's text, with the clock stopped at the start of `today`."""
        tools = self.variables.get("tools")
        text: str = self.tokenizer.get_chat_template(tools=tools)
        return _stopped_clock(self.today) + text if self.reads_clock else text

    @property
    def reads_clock(self) -> bool:
        """Whether the template writes the date or the time."""
        return _CLOCK in str(self.tokenizer.chat_template)

    def render(self, turns: Sequence[Turn], name: str | None = None) -> str:
        """Write a conversation up to where the response begins; a last turn of the assistant is left open, a blank one
        left out.

        `name` names its row in an error. Where the template has no place for a system message, its text goes in front
        of the first turn of the user. Neighbouring turns of one role are joined where the template refuses them.

        Raises:
            RedpencilError: if the template does not take the conversation.
        """
        if len(turns) > 1 and turns[-1]["role"] == "assistant" and _is_blank(turns[-1]):
            turns = turns[:-1]
        if turns[-1]["role"] != "assistant":
            options = {"add_generation_prompt": True}
        else:
            options = {"continue_final_message": True}
        if not self.takes_system:
            turns = fold_system(turns)
        elif not self.takes_developer:
            turns = [{**turn, "role": "system"} if turn["role"] == "developer" else turn for turn in turns]
        dropped = self._dropped(tuple(str(turn["role"]) for turn in turns))
        if dropped is not None:
            raise self._unfit(turns, name, f"leaves out turns of the {dropped}")
        try:
            return self._apply(turns, **options)
        except Exception as error:  # a template is a program, and may raise anything
            joined = join_neighbours(turns)
            if len(joined) < len(turns):
                return self.render(joined, name)
            raise self._unfit(turns, name, f"fails: {first_line(error)}") from error

    def _unfit(self, turns: Sequence[Turn], name: str | None, problem: str) -> RedpencilError:
        roles = ", ".join(str(turn["role"]) for turn in turns)
        row = "" if name is None else f" in row {name!r}"
        return RedpencilError(
            f"the tokenizer's chat template {problem} (turns of {roles}{row})",
            file=self.tokenizer.name_or_path,
            field="chat_template",
            hint="correct the template or the turns, or give a prompt template with {prompt} where the prompt goes",
        )

    def _apply(self, turns: Sequence[Turn], **options: Any) -> str:
        rendered: Any = self.tokenizer.apply_chat_template(
            [dict(turn) for turn in turns],
            chat_template=self.source,
            tokenize=False,
            **{**self.variables, **options},
        )
        return str(rendered)

    def _probe(self, *roles: str, **options: Any) -> str:
        """Render turns whose content is the probe's word; an empty text where the template fails."""
        turns: list[Turn] = [{"role": role, "content": _PROBE} for role in roles]
        for first in ([], [{"role": "system", "content": ""}]):  # some templates want a system message
            try:
                return self._apply([*first, *turns], **options)
            except Exception:  # as in `render`
                continue
        return ""

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template writes system messages, and neither refuses nor drops them."""
        return self._probe("system", "user").count(_PROBE) == 2

    @cached_property
    def takes_developer(self) -> bool:
        """Whether the template writes messages of the developer, another name for the system."""
        return self._probe("developer", "user").count(_PROBE) == 2

    def _dropped(self, roles: tuple[str, ...]) -> str | None:
        """Return the role of a turn that the template leaves out of such a conversation without a word."""
        if roles not in self._known:
            words = [f"{_PROBE}-{number}-" for number in range(len(roles))]
            try:
                written = self._apply([{"role": r, "content": w} for r, w in zip(roles, words, strict=True)])
            except Exception:  # as in `render`, which says so
                written = ""
            lost = [role for role, word in zip(roles, words, strict=True) if word not in written]
            self._known[roles] = lost[0] if 0 < len(lost) < len(roles) else None
        return self._known[roles]

    @cached_property
    def _known(self) -> dict[tuple[str, ...], str | None]:
        return {}

    @cached_property
    def answer_end(self) -> str:
        """What the template writes behind an answer; an empty text if nothing."""
        written = self._probe("user", "assistant").split(_PROBE)
        return written[2] if len(written) == 3 else ""  # a template may write the first turn alone

    @cached_property
    def around_answer(self) -> tuple[str, str]:
        """What the template writes before and behind an answer that another turn follows."""
        written = self._probe("user", "assistant", "user").split(_PROBE)
        return (written[1], written[2]) if len(written) == 4 else ("", "")

    @cached_property
    def frames(self) -> str:
        """What the template writes around turns that are not the assistant's."""
        behind_answer = self._probe("user", "assistant", "tool").split(_PROBE)[2:]
        return " ".join([self._probe("user"), self._probe("system", "user"), *behind_answer])

    @cached_property
    def behind_prompt(self) -> str:
        """What the template writes between a prompt and its answer."""
        return self._probe("user", add_generation_prompt=True).rpartition(_PROBE)[2]

    @cached_property
    def opening(self) -> str:
        """What the template writes where an answer begins."""
        return self._probe("user", add_generation_prompt=True).removeprefix(self._probe("user"))


def _is_blank(turn: Turn) -> bool:
    return set(turn) == {"role", "content"} and turn["content"] is not None and not turn["content"].strip()


def fold_system(turns: Sequence[Turn]) -> list[Turn]:
    """Put the text of system messages in front of the next turn of the user."""
    folded: list[Turn] = []
    waiting: list[str] = []
    for turn in turns:
        if turn["role"] in ("system", "developer"):
            waiting.append(turn["content"])
        elif turn["role"] == "user" and waiting:
            folded.append({**turn, "content": "\n\n".join([*waiting, turn["content"]])})
            waiting = []
        else:
            folded.append(turn)
    if waiting:
        folded.append({"role": "user", "content": "\n\n".join(waiting)})
    return folded


def join_neighbours(turns: Sequence[Turn]) -> list[Turn]:
    """Join neighbouring turns of the user or of the assistant, with a blank line between their texts."""
    joined: list[Turn] = []
    for turn in turns:
        plain = set(turn) == {"role", "content"} and turn["role"] in ("user", "assistant")
        if joined and plain and joined[-1]["role"] == turn["role"] and set(joined[-1]) == set(turn):
            joined[-1] = {**turn, "content": f"{joined[-1]['content']}\n\n{turn['content']}"}
        else:
            joined.append(turn)
    return joined


def mapped(value: Any, change: Callable[[str], str], change_key: Callable[[str], str]) -> Any:
    """Change every text in a value of texts, lists and objects, and every key of an object."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change_key(str(key)): mapped(item, change, change_key) for key, item in value.items()}
    return [mapped(item, change, change_key) for item in value] if isinstance(value, list | tuple) else value


def _stopped_clock(today: date) -> str:
    """Write a macro that takes the place of the template's clock: transformers takes no function as a variable."""
    steps = [["%%", "\0"], *(["%" + code, today.strftime("%" + code)] for code in _DIRECTIVES), ["\0", "%"]]
    loop = f"{{% for code, value in {steps!r} if code in format or code == '\\0' %}}"
    step = "{% set now.text = now.text|replace(code, value) %}{% endfor %}{{ now.text }}"
    return f"{{% macro {_CLOCK}(format) %}}{{% set now = namespace(text=format) %}}{loop}{step}{{% endmacro %}}\n"


def first_line(error: Exception) -> str:
    """Return the first line of a library's error, without its advice."""
    return (str(error) or type(error).__name__).splitlines()[0]
