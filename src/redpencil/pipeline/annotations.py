"""Stages that make data: the world's files, samples, annotations split into train and test, and pairs."""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from redpencil.alignment.ends import original_of, unfinished_sides
from redpencil.alignment.spacing import respaced_note
from redpencil.config.data import ROWS_OF, FilesConfig, PairKind
from redpencil.editing.edit import edit_responses
from redpencil.errors import RedpencilError
from redpencil.models.sampling import respond
from redpencil.pipeline.context import Context
from redpencil.pipeline.editing import world_editor
from redpencil.pipeline.splits import learned_rows, split_prompts
from redpencil.pipeline.training import encode_file
from redpencil.records import Comparison, Edit, Prompt, Response, read_jsonl, write_jsonl
from redpencil.runs import Stage, derive_seed
from redpencil.text import prompt_key
from redpencil.training.pairs import is_respaced
from redpencil.world.build import annotate, less_preferred, make_oracle, write_world
from redpencil.world.oracle import Oracle


def make_world_data(context: Context, stage: Stage) -> None:
    """Write the world's model folder, corpora and prompts."""
    assert context.recipe.world is not None
    write_world(context.recipe.world, stage.seed, stage.folder)


def samples(context: Context, stage: Stage) -> None:
    """Sample responses of the SFT policy: two for each comparison of the world, or what the reward scale needs."""
    prompts = list(read_jsonl(context.paths.prompts, Prompt))
    sample(context, stage, "sft", repeated(prompts, context.samples_needed, derive_seed(stage.seed, "samples")))


def sample(context: Context, stage: Stage, policy: str, prompts: Sequence[Prompt]) -> None:
    """Write the responses of a policy, `sft` or an arm, to prompts."""
    names = () if policy == "sft" else (policy,)
    responses, skipped = respond(
        context.setup.sampler(context.paths.policy(policy), stage.work),
        prompts,
        config=context.setup.sampling,
        seed=derive_seed(stage.seed, "samples", *names),
        model_name=policy,
        progress=stage.progress,
    )
    stage.notes["skipped"] = {"prompt empty or too long": skipped}
    write_jsonl(stage.folder / "responses.jsonl", responses)


def repeated(prompts: Sequence[Prompt], count: int, seed: int, each: int = 2) -> list[Prompt]:
    """Pick `count` prompts, each several times in turn, from a shuffled list that starts again at its end."""
    order = list(range(len(prompts)))
    random.Random(seed).shuffle(order)
    picked = []
    for number in range(count):
        prompt = prompts[order[number // each % len(order)]]
        picked.append(Prompt(f"{prompt.id}-{number}", prompt.prompt, prompt.meta))
    return picked


def annotations(context: Context, stage: Stage) -> None:
    """Write comparisons and edits, split into train and test, from the world's annotators or the user's files."""
    if context.recipe.files is None:
        _annotate_world(context, stage)
    else:
        _split_files(context.recipe.files, stage, {ROWS_OF[kind] for kind in context.recipe.learned_pairs})


def _annotate_world(context: Context, stage: Stage) -> None:
    world = context.recipe.world
    assert world is not None
    oracle = make_oracle(world)
    rng = random.Random(derive_seed(stage.seed, "annotator"))
    sampled = list(read_jsonl(context.paths.samples, Response))
    if len(sampled) < context.samples_needed:
        raise RedpencilError(
            f"only {len(sampled)} of {context.samples_needed} prompts were answered",
            field="sampling.max_prompt_length",
            hint="raise sampling.max_prompt_length, so that every prompt of the world fits",
        )
    responses = iter(sampled)
    editor = world_editor(world, derive_seed(stage.seed, "editor"))
    for split, count in (("train", world.comparisons), ("test", world.test_comparisons)):
        pairs = [(next(responses), next(responses)) for _ in range(count)]
        rows = [compare(oracle, first, second, rng, world.label_flip) for first, second in pairs]
        write_jsonl(stage.folder / f"comparisons_{split}.jsonl", rows)
        if split == "test":
            clean = [compare(oracle, first, second, None, 0.0) for first, second in pairs]
            write_jsonl(stage.folder / "comparisons_clean_test.jsonl", clean)
        edits = edit_responses([loser(row, pair) for row, pair in zip(rows, pairs, strict=True)], editor)
        write_jsonl(stage.folder / f"edits_{split}.jsonl", edits)


def compare(oracle: Oracle, first: Response, second: Response, rng: random.Random | None, flip: float) -> Comparison:
    """Compare as the noisy annotator does; without `rng` as the oracle itself, ties included."""
    texts = (first.prompt, first.response, second.response)
    preference = oracle.prefers(*texts) if rng is None else annotate(oracle, *texts, rng, flip)
    meta = unfinished_sides(first.finished, second.finished)
    return Comparison(first.id, *texts, preference, annotator="oracle" if rng is None else "noisy oracle", meta=meta)


def loser(row: Comparison, pair: tuple[Response, Response]) -> Response:
    """The very response that lost, with its own `finished`."""
    return pair[0] if less_preferred(row) == pair[0].response else pair[1]


_KINDS: Final[Mapping[str, type[Any]]] = {"comparisons": Comparison, "edits": Edit}


def _split_files(files: FilesConfig, stage: Stage, needed: Collection[str]) -> None:
    rows = {kind: list(read_jsonl(path, _KINDS[kind])) for kind in _KINDS if (path := getattr(files, kind)) is not None}
    own = {kind: path for kind in rows if (path := getattr(files, f"test_{kind}")) is not None}
    keys = {kind: [prompt_key(row.prompt) for row in of_kind] for kind, of_kind in rows.items()}
    held = split_prompts(files, {kind: of_kind for kind, of_kind in keys.items() if kind not in own}, stage.seed)
    tests: dict[str, list[Any]] = {}
    learned: set[str] = set()
    for kind, of_kind in rows.items():
        order = list(range(len(of_kind)))
        random.Random(derive_seed(stage.seed, "split", kind)).shuffle(order)
        train, out = ([of_kind[n] for n in order if (keys[kind][n] in held) == wanted] for wanted in (False, True))
        tests[kind] = list(read_jsonl(own[kind], _KINDS[kind])) if kind in own else out
        if kind in own and out:
            stage.remark(f"{len(out):,} {kind} were left out, since their prompt is held out")
        first = _first_prompts(train, learned_rows(files, kind, len(train), needed=kind in needed))
        if len(first) < len(train):
            stage.remark(f"{len(first):,} of {len(train):,} {kind} are learned from, the share that the recipe says")
        train = first
        learned |= {prompt_key(row.prompt) for row in train}
        write_jsonl(stage.folder / f"{kind}_test.jsonl", tests[kind])
        write_jsonl(stage.folder / f"{kind}_train.jsonl", train)
    shared = {kind: sum(prompt_key(row.prompt) in learned for row in test) for kind, test in tests.items()}
    for kind, count in shared.items():
        if count:
            stage.remark(f"{count:,} of {len(tests[kind]):,} test {kind} have a prompt that is in training")
    stage.notes["split"] = {
        "by": "files" if own else "folds" if files.folds else "prompts",
        **{"folds": files.folds, "fold": None if files.folds is None else stage.seed % files.folds},
        **{"test_share": None if files.folds or len(own) == len(rows) else files.test_share, "own": sorted(own)},
        **{"test": {kind: len(test) for kind, test in tests.items()}, "shared": shared},
    }


def _first_prompts(rows: Sequence[Any], count: int) -> list[Any]:
    """Take so many rows, those of a prompt one after the other."""
    places: dict[str, int] = {}
    for row in rows:
        places.setdefault(prompt_key(row.prompt), len(places))
    together = rows if count == len(rows) else sorted(rows, key=lambda row: places[prompt_key(row.prompt)])
    return list(together[:count])


def training_originals(context: Context, stage: Stage) -> None:
    """Take the originals of the training edits for samples of a policy, where no policy is sampled."""
    edits = list(read_jsonl(context.paths.annotations / "edits_train.jsonl", Edit))
    filled = {(row.prompt, row.original): row for row in edits if row.original.strip()}
    kept = list(filled.values())[: context.samples_needed]
    write_jsonl(stage.folder / "responses.jsonl", map(original_of, kept))


def align(context: Context, stage: Stage, *, arm: str | None = None) -> None:
    """Tokenise comparisons and edits, of the recipe's data or of an arm's responses, and write the token masks."""
    folder = context.paths.annotations_of(arm)
    config, codec = context.recipe.align, context.codec
    counts: dict[str, int] = {}
    skipped_rows: dict[str, dict[str, int]] = {}
    remarks: list[str] = []
    files = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
    further = context.recipe.further_pairs if "edits_train" in files else ()
    made: dict[str, PairKind] = {f"{kind}_train": kind for kind in further}
    files |= dict.fromkeys(made, files["edits_train"])
    for name, path in files.items():
        pairs, skipped = encode_file(path, codec, config, made.get(name, "edits"))
        counts[name], skipped_rows[name] = len(pairs), dict(skipped)
        respaced = sum(map(is_respaced, pairs))
        if respaced:
            remarks.append(f"{respaced_note(respaced)} ({name})")
        if not pairs:
            hint = "check the data or align.max_length"
            if arm is not None:
                hint = f"if the answers of {arm} stand as they are, nothing can learn on it: lower rounds, or leave "
                hint += f"out what is `on: {arm}`; else check align.max_length"
            raise RedpencilError(f"no pair is left (skipped: {dict(skipped)})", file=path, hint=hint)
        write_jsonl(stage.folder / f"{name}.jsonl", pairs)
    stage.notes.update(pairs=counts, skipped=skipped_rows, **({"remarks": remarks} if remarks else {}))
