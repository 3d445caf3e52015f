"""Which rows of a user's files are held out: whole prompts, so that no test set has a prompt of a training set.

Prompts that differ in case and white space alone are one (`redpencil.text.prompt_key`). Edits and comparisons share one
split. What is held out depends on the seed and on the set of prompts, not on the order of rows.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from redpencil.config.data import FilesConfig
from redpencil.errors import RedpencilError
from redpencil.runs import derive_seed

Prompts = Mapping[str, Sequence[str]]
"""The key of each row's prompt, by the kind of the rows: edits and comparisons."""


def split_prompts(files: FilesConfig, prompts: Prompts, seed: int) -> frozenset[str]:
    """Return the prompts that the run of a seed holds out, by folds or by share; none where there is nothing to split.

    Raises:
        RedpencilError: naming the file, if a kind of rows has too few prompts to be in every part.
    """
    if not prompts:
        return frozenset()
    if files.folds is not None:
        return _prompts_of_fold(files, prompts, files.folds, seed)
    return _held_out_prompts(files, prompts, seed)


def learned_rows(files: FilesConfig, kind: str, count: int, *, needed: bool = True) -> int:
    """Return how many of `count` training rows of a kind are learned from, by `files.train_share`.

    Of a kind that is not `needed`, since nothing learns from it, a share that leaves none leaves all.

    Raises:
        RedpencilError: if there is none.
    """
    learned = int(count * files.train_share + 1e-9)
    if not learned and not needed:
        return count
    if not learned:
        raise RedpencilError(
            f"no {kind} are left to learn from: {files.train_share:.3g} of {count:,}",
            file=getattr(files, kind),
            field="files.train_share",
            hint=f"add {kind}, raise files.train_share, or lower rounds",
        )
    return learned


def _held_out_prompts(files: FilesConfig, prompts: Prompts, seed: int) -> frozenset[str]:
    """Draw the prompts that are held out: about `files.test_share` of the rows of each kind, at least one prompt of
    each and not all.
    """
    rows = {kind: Counter(keys) for kind, keys in prompts.items()}
    wanted = {kind: max(1, round(files.test_share * counts.total())) for kind, counts in rows.items()}
    held, taken = Counter[str](), Counter[str]()
    drawn: set[str] = set()
    for key in _shuffled(prompts, seed):
        kinds = [kind for kind, counts in rows.items() if key in counts]
        is_last = any(taken[kind] + 1 == len(rows[kind]) for kind in kinds)
        if not is_last and any(held[kind] < wanted[kind] for kind in kinds):
            drawn.add(key)
            held.update({kind: rows[kind][key] for kind in kinds})
            taken.update(kinds)
    for kind in rows:
        if not held[kind]:
            raise RedpencilError(
                f"{kind} of {len(rows[kind])} prompt{'' if len(rows[kind]) == 1 else 's'} cannot be split into train "
                "and test by prompt",
                file=getattr(files, kind),
                field=f"files.{kind}",
                hint=f"give rows of more prompts, or held-out rows of your own as files.test_{kind}",
            )
    return frozenset(drawn)


def _prompts_of_fold(files: FilesConfig, prompts: Prompts, folds: int, seed: int) -> frozenset[str]:
    """Return the prompts of fold `seed` mod K of the partition that is drawn for `seed` div K.

    Prompts that the same kinds have are dealt out together, so that each kind is spread over all folds.
    """
    sets = _sets(prompts)
    having = {key: [key in keys for keys in sets] for key in _shuffled(prompts, seed // folds)}
    dealt = sorted(having, key=lambda key: (-sum(having[key]), having[key]))
    parts = [frozenset(dealt[start::folds]) for start in range(folds)]
    for kind, keys in prompts.items():
        if any(part.isdisjoint(keys) for part in parts):
            raise RedpencilError(
                f"too few prompts for {folds} folds: {len(set(keys))}",
                file=getattr(files, kind),
                field="files.folds",
                hint="lower files.folds, or give rows of more prompts",
            )
    return parts[seed % folds]


def _sets(prompts: Prompts) -> list[frozenset[str]]:
    return [frozenset(keys) for keys in prompts.values()]


def _shuffled(prompts: Prompts, seed: int) -> list[str]:
    keys = sorted(frozenset[str]().union(*_sets(prompts)))
    random.Random(derive_seed(seed, "split", "prompts")).shuffle(keys)
    return keys
