"""Who judges, and who edits answers."""

import re
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from redpencil.sections import Section, hinted, without_secrets


class AskedConfig(Section):
    """What a judge and an editor share: of the kinds that there are one is named, and an LLM may be asked. API keys are
    never in a recipe: they come from the environment.
    """

    NOUN: ClassVar[str]
    KINDS: ClassVar[tuple[str, ...]]
    """The keys of which exactly one is given; `provider` is one of them."""
    OF_OTHERS: ClassVar[frozenset[str]] = frozenset()
    """Further keys that say something without a provider."""
    FILES: ClassVar[tuple[str, ...]]
    """The keys that are paths, besides the template and the folder of a local model."""

    provider: Literal["anthropic", "openai", "local"] | None = Field(
        None, description="Ask an LLM: anthropic; openai, for every OpenAI-compatible server; local, a folder."
    )
    model: str | None = Field(None, description="With provider: name of the model; for local its folder.")
    base_url: str | None = Field(None, description="With provider: another server, such as http://localhost:8000/v1.")
    max_tokens: int = Field(4096, gt=0, description="With provider: most tokens of an answer.")
    temperature: float | None = Field(None, ge=0, description="With provider. Default: the server's own.")
    concurrency: int = Field(16, gt=0, description="With provider: requests in progress at once.")
    max_cost: float | None = Field(
        None,
        gt=0,
        description="With provider: a stage that asks stops when the answers have cost this much, in dollars; the same "
        "command then goes on, with as much again. Each stage, seed and variant of ablations has as much.",
    )
    prices: Path | None = Field(None, description="With provider: YAML of prices that replace those built in.")
    cache: Path | None = Field(
        None,
        description="With provider: response cache, by which a run that was stopped asks for nothing twice. Default: "
        "a file in the run folder that is named by the stage, such as judge.cache. Of several seeds each has its own, "
        "with .seed-N at the end, and so has each variant of ablations, by its name.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, data: Any) -> Any:
        return without_secrets(
            cls, data, "leave it out, and set ANTHROPIC_API_KEY or OPENAI_API_KEY in the environment"
        )

    @field_validator("base_url")
    @classmethod
    def _bare_address(cls, url: str | None) -> str | None:
        if url is not None and re.search(r"[?#]|//[^/]*@", url):
            raise hinted("an address with a user, a password or a query", "write it without; a recipe holds no secrets")
        return url

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in self.KINDS) != 1:
            raise ValueError(f"name one {self.NOUN}: one of {', '.join(self.KINDS)}")
        of_llms = set(type(self).model_fields) - {*self.KINDS, *self.OF_OTHERS}
        for key in sorted(self.model_fields_set & of_llms) if self.provider is None else ():
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} says nothing of this {self.NOUN}; leave it out")
        if self.provider is not None and not self.model:
            raise ValueError("give the model that the provider is asked for")
        return self

    @property
    def decides(self) -> dict[str, Any]:
        """What of it decides verdicts or edits, besides the contents of files."""
        elsewhere = {*self.FILES, "concurrency", "max_cost"}
        return self.model_dump(exclude=elsewhere, exclude_defaults=True, mode="json")


class JudgeConfig(AskedConfig):
    """Who compares the policies' answers with the reference's: one of folder, rule, pattern, verdicts and provider.
    Without the section it is the world's oracle, or `files.judge`. API keys are never in a recipe: they come from the
    environment. An LLM and verdicts of people judge the evaluation prompts alone; training then keeps the checkpoint
    with the best reward, or the last one where it learns from pairs.
    """

    NOUN = "judge"
    KINDS = ("folder", "rule", "pattern", "verdicts", "provider")
    OF_OTHERS = frozenset({"fewer"})
    FILES = ("folder", "verdicts", "prices", "cache")

    folder: Path | None = Field(None, description="Folder of a sequence or token reward model.")
    rule: Literal["oracle", "longer", "shorter", "references"] | None = Field(
        None,
        description="oracle: the small world's; longer, shorter: the number of characters alone; references: sentence "
        "GLEU against the `references` of the prompt's row, and training keeps the checkpoint with the best GLEU.",
    )
    pattern: str | None = Field(
        None, min_length=1, description="A regular expression: the response in which it is found more often is better."
    )
    fewer: bool = Field(False, description="With pattern: the response in which it is found less often is better.")
    verdicts: Path | None = Field(
        None,
        description="JSONL of comparisons by people, as `redpencil annotate --export-comparisons` writes them, matched "
        "by prompt and responses, on either side. What nobody compared has no verdict. The file may come later: "
        "the run then stops before its last stages, and the same command goes on.",
    )
    template: str = Field(
        "default",
        description="With provider: default, alpaca-eval, alpaca-eval-mark, or a file; see `redpencil judge`.",
    )
    orders: Literal["both", "one"] = Field("both", description="With provider: ask in both orders, or in one.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _fewer_of_a_pattern(self) -> Self:
        if self.fewer and self.pattern is None:
            raise ValueError("fewer says nothing of this judge; leave it out")
        return self

    @property
    def judges_training(self) -> bool:
        """Whether it judges policies as they train too: one that costs nothing and answers at once."""
        return self.provider is None and self.verdicts is None


class EditorConfig(AskedConfig):
    """Who edits the policies' answers, to count the edits that they still need, and to learn from edits of an arm's
    own answers (`on`, `rounds`): one of rule, edits, project and provider.
    Without the section it is the world's scripted editor, or the references, if every evaluation prompt has some; else
    nothing is counted.
    """

    NOUN = "editor"
    KINDS = ("rule", "edits", "project", "provider")
    OF_OTHERS = frozenset({"wait", "measure"})
    FILES = ("edits", "template", "prices", "cache")

    rule: Literal["scripted", "references"] | None = Field(
        None,
        description="scripted: the small world's editor; references: an answer becomes the nearest of the texts in "
        "`references` of its prompt's row, by changed words.",
    )
    edits: Path | None = Field(
        None,
        description="JSONL of edits by people, as `redpencil annotate --export` writes them, matched by prompt and "
        "original; the first one of an answer counts. What nobody edited is not counted. The file may come later: the "
        "run then stops before its last stages, and the same command goes on.",
    )
    project: str | None = Field(
        None,
        description="Annotation project whose people edit, as `redpencil annotate` takes it: an SQLite file, or the "
        "URL of a PostgreSQL database. The run puts the answers in as items and stops; when they are edited, the same "
        "command goes on.",
    )
    measure: bool = Field(
        True,
        description="Count what the policies' answers to the evaluation prompts still need. false: the editor edits "
        "what is learned from alone, as where people are not to edit each policy's answers.",
    )
    wait: bool = Field(
        False, description="With project: wait until people have edited the answers, in place of stopping."
    )
    template: Path | None = Field(
        None,
        description="With provider: a file with the request, as `redpencil edit --template` takes it. Default: the "
        "paper's Figure 2.",
    )
    min_kept: float = Field(
        0.5,
        ge=0,
        le=1,
        description="With provider: ask once more for an edit that keeps a smaller share of the words, or is "
        "uncertain.",
    )

    @field_validator("project")
    @classmethod
    def _no_password(cls, place: str | None) -> str | None:
        if place is not None and re.search(r"://[^/@]*:[^/@]*@|[?&]password=", place):
            raise hinted("a recipe holds no secrets", "leave the password out, and set PGPASSWORD in the environment")
        return place

    @model_validator(mode="after")
    def _waits_for_people(self) -> "EditorConfig":
        if self.wait and self.project is None:
            raise ValueError("wait says nothing of this editor; leave it out")
        return self

    @property
    def decides(self) -> dict[str, Any]:
        return {key: value for key, value in super().decides.items() if key not in self.OF_OTHERS}
