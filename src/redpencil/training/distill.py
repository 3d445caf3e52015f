"""Edit-conditioned self-distillation; the maths, and where it comes from, are in `maths.distillation`.

The teacher is the frozen policy from which training starts, with the original and its edit in its prompt. So nothing is
learned that the policy does not know already once it is shown the edit: a model that makes nothing of what stands in
its context teaches nothing.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Unpack

import torch
from torch import Tensor, nn

from redpencil.config.methods import DistillConfig, SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.maths.distillation import guided, reverse_kl, weighted_mean
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.codec import Codec
from redpencil.models.forward import Batch, collate, hinted_scores
from redpencil.models.samplers import make_sampler
from redpencil.records import Pair, Prompt
from redpencil.runs import Stage, derive_seed
from redpencil.training.loop import Lessons, PairsTraining, Refresh, train_beside_start
from redpencil.training.pairs import TEXTS
from redpencil.training.update import Objective, steps_in
from redpencil.turns import Turn

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    """A response to learn at, with the prompts of student and teacher.

    prompts: token ids of the student's prompt, of the teacher's with the edit, and with guidance of the teacher's
        with the original in its place.
    response: token ids; empty where the student's own answer is still to come.
    changed: one flag a token, U1; empty for own answers.
    """

    id: str
    prompts: tuple[Sequence[int], ...]
    response: Ids
    changed: tuple[bool, ...] = ()

    def __len__(self) -> int:
        """Tokens of the student's row."""
        return len(self.prompts[0]) + len(self.response)


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """B lessons: the same responses [B, T] behind each reader's prompts, the student's first; U1 as bool [B, T]."""

    readers: tuple[Batch, ...]
    changed_mask: Tensor


_PLACES: Final = re.compile(r"\{(prompt|original|edited)\}")


def hint(template: str, pair: Pair, edited: str) -> Prompt:
    """The prompt of a pair with its original and an edited text, as `template` puts them.

    Of a conversation, the last turn of the user is filled in.
    """
    texts: Mapping[str, str] = pair.meta[TEXTS]

    def fill(prompt: str) -> str:
        places = {"prompt": prompt, "original": texts["original"], "edited": edited}
        return _PLACES.sub(lambda place: places[place[1]], template)

    turns: list[Turn] = list(pair.meta.get("messages", ()))
    last = max((place for place, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    if last is None:
        return Prompt(pair.id, fill(texts["prompt"]))
    turns[last] = {**turns[last], "content": fill(str(turns[last]["content"]))}
    # A text that the answer goes on with would pass for the answer itself if the prompt did not end with it.
    ends = turns[-1]["role"] == "assistant"
    return Prompt(pair.id, str(turns[-1]["content"] or "") if ends else fill(texts["prompt"]), {"messages": turns})


def lessons_of(pairs: Sequence[Pair], config: DistillConfig, codec: Codec, skipped: Counter[str]) -> list[Lesson]:
    """Make a lesson of each pair; those that a reader's context does not hold are counted in `skipped`.

    Raises:
        RedpencilError: if a pair does not have the texts of its edit.
    """
    for pair in pairs:
        if TEXTS not in pair.meta:
            raise RedpencilError(
                f"pair {pair.id!r} has no texts, which the teacher reads",
                hint="make the pairs of edits with `redpencil align --texts`",
            )
    hints = [codec.encode_prompts([hint(config.teacher_template, p, p.meta[TEXTS]["edited"]) for p in pairs])]
    if config.guidance:
        hints.append(codec.encode_prompts([hint(config.teacher_template, p, p.meta[TEXTS]["original"]) for p in pairs]))
    lessons = []
    for pair, *read in zip(pairs, *hints, strict=True):
        response, changed = (
            (pair.chosen_ids, pair.chosen_changed)
            if config.responses == "edits"
            else (pair.rejected_ids, pair.rejected_changed)
        )
        own = config.responses == "own"
        length = config.response_length if own else len(response)
        if codec.context is not None and max(map(len, read)) + length > codec.context:
            skipped["the teacher's context does not hold prompt, original, edit and response"] += 1
        elif not own and not any(_weight(flag, config) for flag in changed):
            skipped["no token has a weight"] += 1
        else:
            prompts = (pair.prompt_ids, *read)
            lessons.append(Lesson(pair.id, prompts, () if own else response, () if own else changed))
    return lessons


def _weight(changed: bool, config: DistillConfig) -> float:
    return config.changed_weight if changed else config.kept_weight


def collate_lessons(lessons: Sequence[Lesson], pad_id: int, device: torch.device) -> LessonBatch:
    """Collate lessons for the student and each reading of the teacher."""
    responses = [lesson.response for lesson in lessons]
    readers = tuple(
        collate(prompts, responses, pad_id, device) for prompts in zip(*(row.prompts for row in lessons), strict=True)
    )
    changed = torch.zeros_like(readers[0].response_mask)
    for row, lesson in zip(changed, lessons, strict=True):
        row[: len(lesson.changed)] = torch.tensor(lesson.changed, dtype=torch.bool, device=device)
    return LessonBatch(readers, changed)


def weights_of(item: LessonBatch, config: DistillConfig) -> Tensor:
    """Weigh the tokens of a batch, [B, T]; 0 on padding."""
    weights = torch.where(item.changed_mask, config.changed_weight, config.kept_weight)
    return weights * item.readers[0].response_mask


def distill_objective(
    policy: nn.Module, teacher: nn.Module, config: DistillConfig, *, in_parts: bool = True
) -> Objective[LessonBatch]:
    """Return the weighted reverse KL from the teacher.

    Logged with it: its plain means over changed and over kept tokens, `changed_kl` and `kept_kl`. `in_parts` as in
    `hinted_scores`.
    """

    def score(student: Tensor, hinted: Tensor, *plain: Tensor) -> Tensor:
        target = guided(hinted, plain[0], config.guidance) if plain else hinted
        return reverse_kl(student, target)

    def counts(item: LessonBatch) -> dict[str, float]:
        mask, changed = item.readers[0].response_mask, item.changed_mask
        weight = float(weights_of(item, config).sum())
        return {"distill": weight, "changed_kl": float(changed.sum()), "kept_kl": float((mask & ~changed).sum())}

    def terms(item: LessonBatch) -> dict[str, Tensor]:
        student, *hints = item.readers
        kl = hinted_scores(policy, student, teacher, hints, score, in_parts=in_parts)
        changed, plain = item.changed_mask, kl.detach()
        return {
            "distill": weighted_mean(kl, weights_of(item, config)),
            "changed_kl": weighted_mean(plain, changed.float()),
            "kept_kl": weighted_mean(plain, (student.response_mask & ~changed).float()),
        }

    return Objective({"distill": 1.0}, counts, terms)


def answer_anew(config: DistillConfig, stage: Stage, model: LanguageModel) -> Refresh[Lesson]:
    """Make what lets the student, as it is at each step, answer the prompts of that step's lessons."""
    sampler = make_sampler(model, config.sampler)
    sampling = SamplingConfig(
        temperature=config.temperature,
        response_length=config.response_length,
        batch_size=config.generation_batch_size or config.batch_size,
    )
    exact = True  # A server may have other weights when a stage begins, or goes on.

    def refresh(step: int, lessons: Sequence[Lesson]) -> tuple[list[Lesson], int]:
        nonlocal exact
        sampler.sync(model, exact=exact)
        exact = False
        prompts = [lesson.prompts[0] for lesson in lessons]
        samples = sampler.sample(prompts, sampling, seed=derive_seed(stage.seed, "sample", step))
        answered = [replace(lesson, response=sample.ids) for lesson, sample in zip(lessons, samples, strict=True)]
        return answered, sum(map(len, answered))

    return refresh


def train_distill(config: DistillConfig, **training: Unpack[PairsTraining]) -> None:
    """Train the SFT policy to say without the edit what it says when it has seen it; writes `checkpoint/`.

    Pairs that the teacher cannot read are left out, counted and said.

    Raises:
        RedpencilError: if the pairs have no texts, the model cannot read them, or nothing is left to learn from.
    """
    pairs, codec, runtime, stage = training["pairs"], training["codec"], training["runtime"], training["stage"]
    skipped: Counter[str] = Counter()
    lessons = lessons_of(pairs, config, codec, skipped)
    stage.notes["skipped"] = dict(skipped)
    if pairs and not lessons:
        raise RedpencilError(
            f"no pair is left to learn from (skipped: {dict(skipped)})",
            field="distill.teacher_template",
            hint="shorten the template, lower response_length, leave out the longest edits, or weigh more tokens",
        )
    own = config.responses == "own"
    if own:
        steps = steps_in(config.num_train_epochs, len(lessons), config.batch_size, config.max_steps)
        stage.notes["sampled"] = round(steps * len(lessons) / -(-len(lessons) // config.batch_size))
    train_beside_start(
        config,
        Lessons(
            lessons,
            list(map(len, lessons)),
            lambda _, part: collate_lessons(part, pad_id=codec.pad_id, device=runtime.device),
            lambda model, teacher: distill_objective(
                model.module, teacher.module, config, in_parts=runtime.fsdp_size == runtime.tp_size == 1
            ),
            refresh=partial(answer_anew, config, stage) if own else None,
        ),
        **training,
    )
