"""Self-distillation: what the teacher reads, its loss and gradient by hand, and that it teaches what an edit shows."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from redpencil.config.methods import DistillConfig
from redpencil.config.training import AlignConfig, LoraConfig
from redpencil.errors import RedpencilError
from redpencil.models import logprobs
from redpencil.models.checkpoints import LanguageModel, load_policy
from redpencil.models.codec import Codec
from redpencil.models.forward import Batch
from redpencil.models.lora import Bases
from redpencil.models.runtime import Runtime
from redpencil.records import Edit, Pair
from redpencil.runs import Stage, read_metrics
from redpencil.training.distill import collate_lessons, distill_objective, hint, lessons_of, train_distill
from redpencil.training.pairs import pairs_of_edits
from redpencil.training.update import micro_batches_of, optimization_of, update

TEMPLATE = "{prompt} {original} {edited}"
LORA = LoraConfig(r=4, alpha=8)
QUICK = {"teacher_template": TEMPLATE, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "warmup_ratio": 0}


def options(**changes: Any) -> DistillConfig:
    return DistillConfig.model_validate({**QUICK, "batch_size": 8, **changes})


@pytest.fixture(scope="module")
def taught(edits: list[Edit], codec: Codec) -> list[Pair]:
    """Pairs of edits with their texts; the second original was cut off."""
    cut = replace(edits[1], meta={"finished": False})
    return pairs_of_edits([edits[0], cut, *edits[2:64]], codec, AlignConfig(), "edit_texts")[0]


def test_the_teacher_reads_the_edit_where_the_student_reads_the_prompt_alone(codec: Codec) -> None:
    edit = Edit("e", "topic1", "mud sky sand sun", "sea sky sand sun")
    [pair] = pairs_of_edits([edit], codec, AlignConfig(), "edit_texts")[0]

    def told(**changes: Any) -> list[Any]:
        [lesson] = lessons_of([pair], options(**changes), codec, Counter())
        texts = [codec.tokenizer.decode(prompt) for prompt in lesson.prompts]
        return [*texts, lesson.response, lesson.changed]

    student, hinted, plain = (
        f"<s> topic1{more}" for more in ("", " mud sky sand sun sea sky sand sun", " mud sky sand sun" * 2)
    )
    assert told() == [student, hinted, pair.rejected_ids, (True, False, False, False, False)]
    assert told(guidance=1.0, responses="edits") == [student, hinted, plain, pair.chosen_ids, (True, *[False] * 4)]
    assert told(responses="own", response_length=6) == [student, hinted, (), ()]


def test_places_in_texts_are_text_and_conversations_are_filled_in_at_their_last_turn() -> None:
    texts = {"prompt": "{edited}?", "original": "{prompt}", "edited": "{}"}
    plain = Pair("p", (1,), (1,), (1,), meta={"texts": texts})
    assert hint("<{prompt}|{original}|{edited}|{other}>", plain, "{}").prompt == "<{edited}?|{prompt}|{}|{other}>"
    said = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "a"}]
    talk = replace(plain, meta={"texts": texts, "messages": said})
    filled = hint("{prompt}/{original}/{edited}", talk, "b")
    assert filled.meta["messages"] == [said[0], {"role": "user", "content": "a/{prompt}/b"}]
    assert filled.prompt == "{edited}?/{prompt}/b"  # for templates that are no chat
    begun = replace(talk, meta={"texts": texts, "messages": [*said, {"role": "assistant", "content": "Well,"}]})
    asked = hint("{prompt}/{edited}", begun, "b")
    assert [turn["content"] for turn in asked.meta["messages"]] == ["be kind", "a/b", "Well,"]
    assert asked.prompt.endswith("Well,")


def test_what_the_teacher_cannot_read_is_counted_and_pairs_without_texts_are_refused(
    taught: list[Pair], pairs: list[Pair], codec: Codec
) -> None:
    # A context of 32; a lesson has 2 + 4 + 4 tokens in the teacher's prompt and 5 or 4 in the response.
    skipped: Counter[str] = Counter()
    assert len(lessons_of(taught, options(), replace(codec, context=15), skipped)) == len(taught)
    assert not skipped
    assert len(lessons_of(taught, options(), replace(codec, context=14), skipped)) == 1
    assert list(skipped.values()) == [len(taught) - 1]
    assert len(lessons_of(taught, options(responses="own", response_length=23), codec, skipped)) == 0
    with pytest.raises(RedpencilError, match="no texts") as caught:
        lessons_of(pairs[:2], options(), codec, skipped)
    assert "--texts" in (caught.value.hint or "")
    inserted = replace(taught[0], rejected_changed=(False,) * len(taught[0].rejected_ids))
    reasons: Counter[str] = Counter()
    assert not lessons_of([inserted], options(kept_weight=0), codec, reasons)
    assert reasons == {"no token has a weight": 1}


def all_logprobs(model: torch.nn.Module, batch: Batch) -> Tensor:
    logits = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids
    ).logits
    return torch.log_softmax(logits[:, batch.prompt_width - 1 : -1], dim=-1)


@pytest.fixture
def readers(trained: Any, codec: Codec, runtime: Runtime) -> tuple[LanguageModel, LanguageModel]:
    """A student that has moved, and its teacher, in float64."""
    student, teacher = (load_policy(trained.sft, runtime, trained=one, codec=codec) for one in (True, False))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in student.module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    student.module.double()
    teacher.module.double()
    return student, teacher


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"responses": "edits", "changed_weight": 2.0, "kept_weight": 0.5},
        {"guidance": 1.5, "kept_weight": 0.0},
    ],
)
@pytest.mark.parametrize("in_parts", [True, False])
@pytest.mark.parametrize("chunk", [2**25, 60])
def test_loss_and_gradient_are_those_of_all_logits(
    readers: tuple[LanguageModel, LanguageModel],
    taught: list[Pair],
    codec: Codec,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    in_parts: bool,
    chunk: int,
) -> None:
    monkeypatch.setattr(logprobs, "CHUNK", chunk)  # 60: three tokens at a time
    student, teacher = readers
    config = options(**changes)
    item = collate_lessons(lessons_of(taught[:6], config, codec, Counter()), codec.pad_id, torch.device("cpu"))
    terms = distill_objective(student.module, teacher.module, config, in_parts=in_parts).terms(item)
    parameters = list(student.module.parameters())
    found = torch.autograd.grad(terms["distill"], parameters)

    own, *hinted = (
        all_logprobs(model, batch)
        for model, batch in zip((student.module, teacher.module, teacher.module), item.readers, strict=False)
    )
    target = hinted[0].detach()
    if config.guidance:
        target = torch.log_softmax(target + 1.5 * (target - hinted[1].detach()), dim=-1)
    kl = (own.exp() * (own - target)).sum(-1)
    weight = torch.where(item.changed_mask, config.changed_weight, config.kept_weight) * item.readers[0].response_mask
    expected = (kl * weight).sum() / weight.sum()
    assert float(terms["distill"].detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert float(terms["changed_kl"]) == pytest.approx(float(kl[item.changed_mask].mean().detach()), rel=1e-9)
    for one, other in zip(found, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)
    assert max(float(gradient.abs().max()) for gradient in found) > 1e-3
    assert all(parameter.grad is None for parameter in teacher.module.parameters())


def test_student_and_teacher_may_be_views_of_one_base(
    trained: Any, taught: list[Pair], codec: Codec, runtime: Runtime
) -> None:
    config, bases = options(guidance=0.5), Bases()
    student, teacher = (
        load_policy(trained.sft, runtime, trained=one, codec=codec, lora=LORA, bases=bases, reference=not one)
        for one in (True, False)
    )
    own = [parameter for parameter in student.module.parameters() if parameter.requires_grad]
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in own:
            parameter.add_(0.1 * torch.randn_like(parameter))
    item = collate_lessons(lessons_of(taught[:4], config, codec, Counter()), codec.pad_id, runtime.device)
    term = distill_objective(student.module, teacher.module, config).terms(item)["distill"]
    found = torch.autograd.grad(term, own)
    logs = all_logprobs(student.module, item.readers[0])
    with torch.no_grad():
        hinted, plain = (all_logprobs(teacher.module, batch) for batch in item.readers[1:])
    target = torch.log_softmax(hinted + 0.5 * (hinted - plain), dim=-1)
    expected = ((logs.exp() * (logs - target)).sum(-1) * item.readers[0].response_mask).sum()
    expected = expected / item.readers[0].response_mask.sum()
    assert float(term.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    for one, other in zip(found, torch.autograd.grad(expected, own), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_one_batch_and_its_micro_batches_take_the_same_step(
    trained: Any, taught: list[Pair], codec: Codec, runtime: Runtime
) -> None:
    config = options(changed_weight=3.0, kept_weight=0.5)
    teacher = load_policy(trained.sft, runtime, trained=False, codec=codec)
    lessons = lessons_of(taught[:8], config, codec, Counter())
    logged, after = [], []
    for size in (None, 3):
        policy = load_policy(trained.sft, runtime, trained=True, codec=codec)
        items = [
            collate_lessons([lessons[i] for i in part], codec.pad_id, runtime.device)
            for part in micro_batches_of(range(8), size)
        ]
        objective = distill_objective(policy.module, teacher.module, config)
        logged.append(update(optimization_of(policy.module, config, 10), items, objective, runtime))
        after.append([p.detach() for p in policy.module.parameters()])
    assert logged[0] == pytest.approx(logged[1], rel=1e-4, abs=1e-5)
    for one, other in zip(*after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("responses", ["originals", "own"])
def test_the_student_comes_closer_to_the_teacher(
    trained: Any, taught: list[Pair], codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage], responses: str
) -> None:
    stage = new_stage(1)
    config = options(responses=responses, max_steps=12, batch_size=16, response_length=6 if responses == "own" else 300)
    train_distill(config, policy=trained.sft, pairs=taught, validation=None, codec=codec, runtime=runtime, stage=stage)
    losses = [row["distill"] for row in read_metrics(stage.folder)]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    assert (stage.folder / "checkpoint" / "model.safetensors").is_file()
    assert stage.notes.get("sampled", 0) == (12 * 16 if responses == "own" else 0)


def test_own_answers_are_drawn_anew_and_alike_for_the_same_seed(
    trained: Any, taught: list[Pair], codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    found = []
    for seed in (1, 1, 2):
        stage = new_stage(seed)
        config = options(responses="own", max_steps=2, response_length=6)
        train_distill(
            config, policy=trained.sft, pairs=taught[:16], validation=None, codec=codec, runtime=runtime, stage=stage
        )
        found.append([(row["loss"], row["num_tokens"]) for row in read_metrics(stage.folder)])
    assert found[0] == found[1] != found[2]


def test_nothing_to_learn_from_is_an_error(
    trained: Any, taught: list[Pair], codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    long = options(teacher_template=TEMPLATE + " sun" * 40)
    with pytest.raises(RedpencilError, match="no pair is left") as caught:
        train_distill(
            long, policy=trained.sft, pairs=taught, validation=None, codec=codec, runtime=runtime, stage=new_stage()
        )
    assert caught.value.field == "distill.teacher_template"
