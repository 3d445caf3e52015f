"""Log-probabilities and entropy in chunks: equal to the model's own logits, and never all of them at once."""

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from redpencil.maths.ppo import entropy_from_logits
from redpencil.models import logprobs as module
from redpencil.models.forward import Batch, collate, response_logprobs, response_scores
from redpencil.models.logprobs import chunk_rows

VOCABULARY = 23
PROMPTS = [[5], [6, 7, 8, 9, 10, 11], [12, 13, 14]]
RESPONSES = [[15, 16, 17, 3], [18, 3], [19, 20, 21, 22, 20, 3]]
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-tied": {"tie_word_embeddings": True},
    "qwen3": {},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "phi": {},  # its head has a bias
    "gemma2": {"final_logit_softcapping": 0.5, "query_pre_attn_scalar": 8},
    "gemma3_text": {"final_logit_softcapping": 0.7, "query_pre_attn_scalar": 8},
    "cohere": {"logit_scale": 0.3},
    "cohere2": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 3.0},
    "hyperclovax": {"logits_scaling": 3.0},
    "falcon_h1": {"lm_head_multiplier": 0.2, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8},
    "opt": {"word_embed_proj_dim": 16, "ffn_dim": 32},
    "gpt_neox": {},  # its head is called embed_out
}


def make(kind: str, **changes: Any) -> PreTrainedModel:
    config = CONFIG_MAPPING[kind.removesuffix("-tied")](
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "max_position_embeddings": 64,
            "initializer_range": 0.3,
            "pad_token_id": 1,
            "bos_token_id": 2,
            "eos_token_id": 3,
            **KINDS[kind],
            **changes,
        }
    )
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.double().eval()


def batch_of(kind: str = "") -> Batch:
    # Eager attention, the only one that Gemma 2 has, makes NaN of rows that are all padding, in float64 alone.
    prompts = [prompt[-1:] for prompt in PROMPTS] if kind == "gemma2" else PROMPTS
    return collate(prompts, RESPONSES, 1, torch.device("cpu"))


def by_all_logits(model: torch.nn.Module, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
    """The same from the model's own logits of all columns, 0 on padding."""
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    ).logits
    logits = logits[:, batch.prompt_width - 1 : -1] / temperature
    picked = logits.gather(-1, batch.response_ids[..., None])[..., 0] - logits.logsumexp(-1)
    return picked * batch.response_mask, entropy_from_logits(logits) * batch.response_mask


@pytest.fixture(params=[2**25, 4 * VOCABULARY, 1], ids=["one-chunk", "chunks-of-4", "chunks-of-1"])
def chunked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", request.param)


def check(model: torch.nn.Module, temperature: float) -> None:
    """Values, and the gradients of a loss in which each token has a weight of its own."""
    batch = batch_of(getattr(model.config, "model_type", ""))
    expected, expected_entropy = by_all_logits(model, batch, temperature)
    found, entropy = response_scores(model, batch, temperature)
    assert entropy is not None
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(entropy, expected_entropy, rtol=0, atol=1e-10)
    weights = torch.linspace(-1, 2, found.numel()).double().view_as(found)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    wanted = torch.autograd.grad((expected * weights).sum(), parameters, allow_unused=True)
    got = torch.autograd.grad((found * weights).sum(), parameters, allow_unused=True)
    assert any(gradient is not None and bool(gradient.abs().max() > 1e-3) for gradient in wanted)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(response_logprobs(model, batch, temperature), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kind", "temperature"), [("llama", 1.0), *((kind, 0.7) for kind in KINDS)])
@pytest.mark.usefixtures("chunked")
def test_equal_to_the_models_own_logits(kind: str, temperature: float) -> None:
    model = make(kind)
    check(model, temperature)
    assert module._known[model.get_output_embeddings()] is not None  # type: ignore[index]
    assert "forward" not in vars(model.get_output_embeddings())


@pytest.mark.parametrize("kind", ["gemma3_text", "cohere", "granite", "hyperclovax", "falcon_h1"])
def test_what_is_done_behind_the_head_shows(kind: str) -> None:
    model = make(kind)
    head = model.get_output_embeddings()
    response_logprobs(model, batch_of())
    known = module._known[head]  # type: ignore[index]
    assert known is not None
    assert known.operations
    module._known[head] = module._Head(known.vocabulary, ())  # type: ignore[index]
    assert not torch.allclose(response_logprobs(model, batch_of()), by_all_logits(model, batch_of(), 1.0)[0])


class Forbids(LlamaForCausalLM):
    """Does to its logits what can only be done to all of them."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits[:, :, 4] = -10.0
        return output


class Centres(LlamaForCausalLM):
    """The same by an operation that makes a new tensor."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits + output.logits.std(dim=-1, keepdim=True)[..., :1] * torch.arange(VOCABULARY)
        return output


@pytest.mark.parametrize("kind", [Forbids, Centres])
@pytest.mark.usefixtures("chunked")
def test_what_a_model_does_to_all_logits_at_once_is_left_to_it(kind: type[LlamaForCausalLM]) -> None:
    torch.manual_seed(0)
    model = kind(make("llama").config).double()
    check(model, 0.7)
    assert module._known[model.lm_head] is None


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")  # peft asks for the old name
@pytest.mark.parametrize("saved", [None, ["lm_head"]], ids=["", "head-trained"])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj", "lm_head"]], ids=["layers", "head-adapted"])
@pytest.mark.usefixtures("chunked")
def test_under_adapters(targets: list[str], saved: list[str] | None) -> None:
    if saved is not None:
        targets = targets[:1]
    config = peft.LoraConfig(r=2, target_modules=targets, modules_to_save=saved, init_lora_weights=False)
    model = peft.get_peft_model(make("gemma3_text", tie_word_embeddings=False), config).double()
    check(model, 0.7)
    with model.disable_adapter():
        off = response_logprobs(model, batch_of())
    torch.testing.assert_close(
        off, by_all_logits(make("gemma3_text", tie_word_embeddings=False), batch_of(), 1.0)[0], rtol=0, atol=1e-10
    )


@pytest.mark.usefixtures("chunked")
def test_with_activations_computed_anew() -> None:
    model = make("granite")
    model.activation_checkpointing_enable()
    model.train()
    check(model, 1.0)


class Largest(TorchDispatchMode):
    """The most numbers of one tensor that an operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = (leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        self.numbers = max(self.numbers, *sizes, 0, 0)
        return out


def rows_of(count: int, length: int, vocabulary: int) -> Batch:
    ids = torch.randint(vocabulary, (count, length)).tolist()
    return collate([[5, 6]] * count, ids, 1, torch.device("cpu"))


def largest(run: Callable[[], object]) -> int:
    with Largest() as mode:
        run()
    return mode.numbers


def test_logits_of_a_batch_never_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chunk_rows(50_000) == 671
    assert chunk_rows(10**9) == 1
    vocabulary, count, length = 5_000, 6, 100
    monkeypatch.setattr(module, "CHUNK", 2**20)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1
    )
    model, batch = LlamaForCausalLM(config), rows_of(count, length, vocabulary)
    allowed = chunk_rows(vocabulary) * vocabulary
    assert allowed < count * length * vocabulary / 2
    assert largest(lambda: response_scores(model, batch, 0.7)[0].sum().backward()) == allowed
    with torch.no_grad():
        assert largest(lambda: response_scores(model, batch, 1.0)) == allowed
        assert largest(lambda: model(batch.input_ids)) > count * length * vocabulary


def test_no_copy_at_temperature_1() -> None:
    model = make("llama").float()

    class Divisions(TorchDispatchMode):
        seen: tuple[str, ...] = ()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.shape[-1:] == (VOCABULARY,) and out.ndim == 2:
                self.seen = (*self.seen, func.__name__)
            return out

    for temperature, copies in ((1.0, 0), (0.5, 1)):
        with torch.no_grad(), Divisions() as mode:
            response_logprobs(model, batch_of(), temperature)
        assert sum(name.startswith(("div", "_to_copy", "clone")) for name in mode.seen) == copies, mode.seen


def test_the_head_reads_response_tokens_only() -> None:
    model, read = make("llama"), []
    own = model.lm_head.forward
    response_logprobs(model, batch_of())
    model.lm_head.forward = lambda states: (read.append(states.shape), own(states))[1]
    response_logprobs(model, batch_of())
    assert read == [(4 + 2 + 6, 16)]


def test_nothing_counts() -> None:
    model = make("llama")
    batch = collate([[5, 6]], [[]], 1, torch.device("cpu"))
    logprobs, entropy = response_scores(model, batch, 1.0)
    assert logprobs.tolist() == [[0.0]]
    assert entropy is not None
    assert entropy.tolist() == [[0.0]]
    logprobs.sum().backward()
    gradient = model.lm_head.weight.grad
    assert gradient is not None
    assert not gradient.any()


def test_bfloat16_logits_become_float32_before_they_are_divided() -> None:
    model = make("llama").to(torch.bfloat16)
    batch = batch_of()
    with torch.no_grad():
        logits = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids
        ).logits
        wanted = (logits[:, batch.prompt_width - 1 : -1].float() / 0.7).log_softmax(-1)
        wanted = wanted.gather(-1, batch.response_ids[..., None])[..., 0] * batch.response_mask
        found = response_logprobs(model, batch, 0.7)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
