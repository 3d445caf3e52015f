"""Sample responses from a vLLM server, by HTTP alone: token ids in, token ids out, and the weights that drew them.

Paths and forms are those of vLLM 0.33 (vllm/entrypoints: openai/completion, rl/online, serve/lora, serve/dev/rpc). The
server decodes nothing that is read: its token ids are the response. Its log-probabilities are not asked for, since
what learns from a rollout computes them itself.

Every set of weights gets a name of its own. By the route `disk` it is the server's label of its weights
(`/update_weight_version`), which every answer carries for each stretch of its tokens; by the route `lora` it is the
name of the adapter that was asked. So a server that lost the weights, as by a restart, or got another run's, is found
out by its first answer.
"""

import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redpencil.adapters import is_adapter
from redpencil.config.compute import SamplerConfig, ServerConfig
from redpencil.config.methods import SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import LanguageModel, has_weights
from redpencil.models.codec import Codec
from redpencil.models.lora import role_of
from redpencil.models.sampling import Sample, check_context, check_vocabulary, cut_at_end, end_tokens
from redpencil.models.saving import export, write_merged
from redpencil.providers.json_server import JsonServer, RefusedError, key_from
from redpencil.runs import Progress, derive_seed, no_progress

FIELD: Final = "compute.sampler"
_TRIES: Final = 3
"""Times that rows are asked for with weights loaded anew, where the server answers with others."""
_PLAIN: Final = {
    **{"n": 1, "top_k": 0, "min_p": 0.0, "min_tokens": 0},
    **{"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
}
"""Nothing but the sampling configuration shapes the distribution, whatever the server's generation_config.json says."""


def connect(config: ServerConfig, field: str) -> JsonServer:
    """Take address, key and patience from the section `field` of a recipe.

    Raises:
        RedpencilError: if the environment variable of the API key holds none.
    """
    key = key_from(config.api_key_variable, f"{field}.api_key_variable")
    return JsonServer(config.url, key, config.timeout, config.patience, f"{field}.url")


def served_model(server: JsonServer, wanted: str | None, field: str) -> Mapping[str, Any]:
    """Return the entry of a model in the server's list: `id`, and often `root` and `max_model_len`.

    Raises:
        RedpencilError: if it serves no such model, or several and none is wanted.
    """
    listed = server.get("/v1/models")
    data = listed.get("data") if isinstance(listed, dict) else None
    cards = [card for card in data or [] if isinstance(card, dict) and isinstance(card.get("id"), str)]
    bases = [card for card in cards if not card.get("parent")]
    chosen = [card for card in cards if card["id"] == wanted] if wanted is not None else bases
    if len(chosen) != 1:
        names = ", ".join(card["id"] for card in cards) or "none"
        asked = "several models" if wanted is None and bases else f"no model {wanted or ''}".rstrip()
        raise RedpencilError(
            f"the server has {asked}; it lists {names}",
            file=server.address,
            field=f"{field}.model",
            hint="give one of the names that it lists",
        )
    return chosen[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and the number of the weights that drew it; None if they are not of this sampler."""

    sample: Sample
    weights: int | None


class VLLMSampler:
    """Samples from a server that has the policy's weights, and hands it new ones before they are needed.

    Each rank asks for its share of the prompts; the first hands over the weights.

    Args:
        policy: gives the codec, the end tokens and the weights.
        config: the server.
    """

    def __init__(self, policy: LanguageModel, config: SamplerConfig) -> None:
        self.policy, self.config = policy, config
        self.server = connect(config, FIELD)
        self.wanted = 1
        """Number of the policy's present weights; it grows with each `sync`."""
        self.loaded = 0
        """Number of the weights that the server has been given."""
        self.exact = True
        self.run = policy.runtime.tell(uuid.uuid4().hex[:12])
        """Names this sampler's weights, apart from those of other runs."""
        self._place: Path | None = None
        self._checked = False

    @property
    def codec(self) -> Codec:
        return self.policy.codec

    def check(self, prompt_ids: Sequence[Sequence[int]], response_length: int) -> None:
        """Check against the policy's context, and the server's where it says one."""
        check_context(self.policy.context, prompt_ids, response_length)
        check_vocabulary(self.policy, prompt_ids)
        context = served_model(self.server, self.config.model, FIELD).get("max_model_len")
        if isinstance(context, int):
            check_context(context, prompt_ids, response_length)
        self._checked = True

    def sync(self, policy: LanguageModel, *, exact: bool = False) -> None:
        """Note that the weights have changed. They are handed over when they are next needed."""
        self.policy = policy
        self.wanted += 1
        self.exact = self.exact or exact

    def sample(
        self,
        prompt_ids: Sequence[Sequence[int]],
        config: SamplingConfig,
        *,
        seed: int,
        progress: Progress = no_progress,
    ) -> list[Sample]:
        """Ask for one response to each prompt, each by a request and a seed of its own.

        Raises:
            RedpencilError: as `check` does; if the server cannot be reached, cannot load the weights, or answers with
                others than those that it was given, or what is no answer.
        """
        if not self._checked:
            self.check(prompt_ids, config.response_length)
        runtime, total = self.policy.runtime, len(prompt_ids)
        most = 0 if self.exact else self.config.max_staleness
        if self.wanted - self.loaded > most or not self.loaded:
            self._hand_over()
        samples: dict[int, Sample] = {}
        missing = list(range(total))
        for attempt in range(_TRIES):
            mine = runtime.share(missing)
            asked = [(prompt_ids[row], derive_seed(seed, "prompt", row)) for row in mine]
            done = len(samples)

            def ask(asked: Sequence[tuple[Sequence[int], int]] = asked, done: int = done) -> list[Answer]:
                return self._ask(asked, config, lambda count: progress(done + count, total, "responses"))

            answers = runtime.gather(runtime.together(ask))
            for row, answer in zip(missing, answers, strict=True):
                stale = None if answer.weights is None else self.wanted - answer.weights
                if stale is not None and 0 <= stale <= most:
                    samples[row] = Sample(answer.sample.ids, answer.sample.finished, stale)
            missing = [row for row in missing if row not in samples]
            if not missing:
                self.exact = False
                return [samples[row] for row in range(total)]
            if attempt + 1 < _TRIES:
                self._hand_over()
        raise RedpencilError(
            f"{len(missing)} of {total} responses are from weights that the server was not given last, {_TRIES} times",
            file=self.config.url,
            field=f"{FIELD}.url",
            hint="let no other run use this server, and look whether it starts again and again",
        )

    def _ask(
        self, asked: Sequence[tuple[Sequence[int], int]], config: SamplingConfig, progress: Callable[[int], None]
    ) -> list[Answer]:
        ends = end_tokens(self.policy)
        body = {
            **_PLAIN,
            **{"model": self._model, "max_tokens": config.response_length, "temperature": config.temperature},
            **{"top_p": 1.0 if config.temperature == 0 else config.top_p},
            # The ends of the policy end a response, and not those that the server believes in.
            **{"stop_token_ids": sorted(ends), "ignore_eos": True},
            **{"return_token_ids": True, "return_weight_versions": self.config.route == "disk"},
        }
        bodies = [{**body, "prompt": list(ids), "seed": seed} for ids, seed in asked]
        answers: dict[int, Answer] = {}
        try:
            for index, content in self.server.each("/v1/completions", bodies, self.config.concurrency):
                answers[index] = self._answer(content, asked[index][0], config.response_length, ends)
                progress(len(answers))
        except RefusedError as error:
            # A server that was started again does not know the adapter.
            if self.config.route != "lora" or error.status != 404:
                raise
            lost = Answer(Sample((), finished=False), None)
            return [answers.get(index, lost) for index in range(len(asked))]
        return [answers[index] for index in range(len(asked))]

    @property
    def _model(self) -> str:
        if self.config.route == "lora":
            return self._label(self.loaded)
        return str(served_model(self.server, self.config.model, FIELD)["id"])

    def _label(self, number: int) -> str:
        return f"redpencil-{self.run}-{number}"

    def _number(self, label: object) -> int | None:
        run, _, number = str(label).rpartition("-")
        return int(number) if run == f"redpencil-{self.run}" and number.isdecimal() else None

    def _answer(self, content: object, prompt: Sequence[int], length: int, ends: frozenset[int]) -> Answer:
        choices = content.get("choices") if isinstance(content, dict) else None
        choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        if not isinstance(content, dict) or not isinstance(choice, dict):
            raise self._broken("it has not one entry in 'choices'")
        ids = _token_ids(choice.get("token_ids"))
        read = _token_ids(choice.get("prompt_token_ids"))
        if ids is None or read is None:
            raise self._broken("it has no token ids", "it needs vLLM 0.33 or newer, which knows return_token_ids")
        if read != list(prompt):
            raise self._broken("the server read another prompt than it was sent")
        embeddings: Any = self.policy.module.get_input_embeddings()
        if any(token >= embeddings.num_embeddings for token in ids):
            raise self._broken(
                "it has a token that the policy does not know", "let the server serve the policy's model"
            )
        sample, reason = cut_at_end(ids, ends), choice.get("finish_reason")
        whole = sample.finished or len(ids) == length
        if not whole or len(sample.ids) != len(ids) or len(ids) > length or reason not in ("stop", "length"):
            cut = f"a response of {len(ids)} tokens ended by {reason!r}, without an end token of the policy"
            raise self._broken(cut, "give the server a larger --max-model-len, and no stop words of its own")
        return Answer(sample, self._weights(content, choice))

    def _weights(self, content: Mapping[str, Any], choice: Mapping[str, Any]) -> int | None:
        """The number of the oldest weights that drew a token."""
        if self.config.route == "lora":
            return self._number(content.get("model"))
        spans = choice.get("weight_versions")
        if not isinstance(spans, list) or not spans or not all(isinstance(span, dict) for span in spans):
            raise self._broken(
                "it does not say which weights drew it", "it needs vLLM 0.33 or newer, with VLLM_SERVER_DEV_MODE=1"
            )
        numbers = [self._number(span.get("version")) for span in spans]
        return None if None in numbers else min(number for number in numbers if number is not None)

    def _broken(self, problem: str, hint: str = "look at the server's log") -> RedpencilError:
        return RedpencilError(
            f"not an answer of a vLLM server that samples: {problem}",
            file=self.config.url,
            field=f"{FIELD}.url",
            hint=hint,
        )

    # Weights.

    def _hand_over(self) -> None:
        """Give the server the present weights, under a name of their own; all ranks wait until it has them."""
        # A name is used once: what a server that lost the weights drew in between must not bear it.
        self.wanted += 1
        label = self._label(self.wanted)
        with self._written(label) as folder:
            load = self._load_adapter if self.config.route == "lora" else self._load_weights
            runtime = self.policy.runtime
            runtime.together(lambda: load(folder, label) if runtime.writes else None)
        if self._place is not None and self.policy.runtime.writes:  # The adapter before is unloaded.
            shutil.rmtree(self._place / self._label(self.loaded), ignore_errors=True)
        self.loaded = self.wanted

    @contextmanager
    def _written(self, label: str) -> Iterator[Path]:
        """Write the weights where the server reads them; a frozen policy's lie in its folder already."""
        source, lora = Path(self.policy.name).absolute(), self.config.route == "lora"
        trained = any(weight.requires_grad for weight in self.policy.module.parameters())
        if not trained and has_weights(source) and is_adapter(source) == lora:
            yield source
            return
        role = role_of(self.policy.module)
        adapted = role is not None and role.adapter is not None
        if lora and not adapted:
            raise RedpencilError(
                "the policy has no adapter that the server could load",
                field=f"{FIELD}.route",
                hint="set compute.sampler.route=disk, or train with lora",
            )
        if self._place is None:
            self._place = self.policy.runtime.tell(self._new_place() if self.policy.runtime.writes else Path())
        folder = self._place / label
        export(self.policy, folder)
        if adapted and not lora:
            runtime = self.policy.runtime
            runtime.together(lambda: self._merge(folder) if runtime.writes else None)
        try:
            yield folder
        finally:
            if not lora:  # The server has read it; an adapter it may read again.
                shutil.rmtree(folder, ignore_errors=True)

    def _merge(self, folder: Path) -> None:
        """Replace the folder of an adapter by the whole model."""
        whole = folder.with_name(f"{folder.name}-whole")
        write_merged(folder, whole, str(self.policy.runtime.dtype).removeprefix("torch."))
        shutil.rmtree(folder)
        whole.replace(folder)

    def _new_place(self) -> Path:
        """Make a folder for weights, which goes when the sampler does."""
        if self.config.folder is not None:
            self.config.folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="redpencil-weights-", dir=self.config.folder)).absolute()
        place.chmod(0o755)  # The server may run as somebody else.
        weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
        return place

    def _load_weights(self, folder: Path, label: str) -> None:
        """Load a checkpoint in place of the weights, between two requests."""
        self.server.order("/pause?mode=wait")
        try:
            self.server.order("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})
            self.server.order("/reset_prefix_cache")
            self.server.order("/update_weight_version", {"new_version": label})
        finally:
            self.server.order("/resume")

    def _load_adapter(self, folder: Path, label: str) -> None:
        """Load an adapter under a new name, and drop the one before."""
        if self.loaded:
            try:
                self.server.order("/v1/unload_lora_adapter", {"lora_name": self._label(self.loaded)})
            except RefusedError as error:
                if error.status != 404:  # A server that was started again has it no more.
                    raise
        self.server.order("/v1/load_lora_adapter", {"lora_name": label, "lora_path": str(folder), "load_inplace": True})


def _token_ids(value: object) -> list[int] | None:
    """The value if it is a list of token ids."""
    if not isinstance(value, list) or not all(type(token) is int and token >= 0 for token in value):
        return None
    return value
