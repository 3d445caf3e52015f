"""The page `docs/recipes.md`: every recipe key, from the same rows that `redpencil keys` prints."""

from collections.abc import Mapping, Sequence

import yaml

from redpencil.config import Recipe

INTRODUCTION = """\
# Recipe keys

`redpencil keys --markdown docs/recipes.md` writes this page. Do not edit it by hand.

A recipe is a YAML file. A key's value is its default, unless the recipe says otherwise, unless `--set` on the command
line says otherwise: `--set ppo.kl_coef=0.1`, as often as needed. A key that does not exist is an error that names the
nearest one. Give either `world` or `files`. `redpencil doctor RECIPE.yaml` checks a recipe without running it.
"""
ENTRIES = """\
These are named entries, with names of your own. An entry holds only what differs from the section that it refines.
Where the recipe has no `{name}`, it is:
"""


def keys_page(sections: Mapping[str, Sequence[Mapping[str, str]]], abouts: Mapping[str, str]) -> str:
    """The page as Markdown.

    Args:
        sections: rows with key, type, default and description, by section; the top level is called "".
        abouts: a sentence on each section.
    """
    parts = [INTRODUCTION]
    for name, rows in sections.items():
        parts.append(f"## {name or 'Top level'}\n")
        if name in abouts:
            parts.append(f"{abouts[name]}\n")
        parts.append(_table(rows))
        if name in ("arms", "reward_models"):
            parts += [ENTRIES.format(name=name), f"```yaml\n{_defaults(name)}```\n"]
    return "\n".join(parts)


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        default = "required" if row["default"] == "required" else f"`{row['default']}`"
        cells = (f"`{row['key']}`", row["type"], default, row["description"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _defaults(name: str) -> str:
    entries = Recipe.model_fields[name].get_default(call_default_factory=True)
    plain = {entry: values.model_dump(exclude_unset=True) for entry, values in entries.items()}
    return yaml.safe_dump({name: plain}, sort_keys=False)
