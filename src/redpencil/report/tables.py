"""Tables of a report as cells, which HTML, Markdown and the terminal render."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from redpencil.report import paper
from redpencil.report.headline import PAIRS, shown_pairs, verdict_of
from redpencil.report.markup import DASH, MINUS, duration, interval_text, plain, points_interval, signed
from redpencil.report.paper import in_order, in_paper_order, label
from redpencil.report.run_data import PolicyWinRate, Run, Speed, number
from redpencil.results import ArmCosts, Estimate, Figure, PooledResults, SeedMean


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its text, a second line in small type, its kind (`own`, `absent`), and a bar behind it from 0 to 1."""

    text: str
    small: str = ""
    kind: str = ""
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names its rows, with notes below."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, caption: str, header: Iterable[str], rows: Iterable[Iterable[Cell | str | None]], notes: Iterable[str] = ()
    ) -> "Table":
        """Make a table of rows in which a text is a cell with nothing else, and None an absent one."""
        cells = (tuple(ABSENT if c is None else Cell(c) if isinstance(c, str) else c for c in row) for row in rows)
        return cls(caption, tuple(header), tuple(cells), tuple(notes))


Row = tuple[Cell | str | None, ...]
ABSENT = Cell(DASH, kind="absent")
NOT_REACHED = Cell("not reached", kind="absent")
AT_MOST = "\N{LESS-THAN OR EQUAL TO}"


def spread_text(seeds: int, cases: str = "prompts") -> str:
    """Say what the intervals of a table are of; those of one seed are over `cases` only."""
    if seeds > 1:
        return f"Intervals are 95 % t-intervals of the mean over {seeds} seeds."
    return f"Intervals are 95 % and over {cases} only: one seed says nothing about the spread between seeds."


def _printed(figure: paper.Printed | None) -> Cell:
    if figure is None:
        return ABSENT
    spread = "" if figure.spread is None else f" \N{PLUS-MINUS SIGN} {figure.spread}"
    return Cell(f"{figure.value}{spread}", kind="paper")


def number_text(value: float | None, digits: int = 1) -> str | None:
    """Write a number for a cell; None stays None."""
    return None if value is None else plain(value, digits)


def _share(share: Figure | None, kind: str = "") -> Cell:
    return ABSENT if share is None else Cell(plain(share.value), interval_text(share), kind)


def win_rates(run: Run) -> Table | None:
    """Table 1."""
    if not run.win_rates:
        return None
    counts = any(row.counts is not None for row in run.win_rates.values())
    rows: list[Row] = []
    for arm in in_paper_order({*run.win_rates, "reference"}):
        method = run.costs[arm].label if arm in run.costs else ""
        name = Cell(label(arm, paper.ARM_LABELS), paper.ARM_NAMES_IN_PAPER.get(arm, method))
        rate, responses, length = _win_rate(run.win_rates.get(arm))
        rows.append((name, rate, _printed(paper.TABLE_1.get(arm)), *([responses] if counts else []), length))
    header = ("Policy", "Win rate, %", "The paper, %", *(["Responses"] if counts else []), "Mean length, words")
    notes = [
        "Share of prompts on which the judge prefers the policy to the reference; a tie counts one half.",
        *(["Below the number of responses: wins / losses / ties."] if counts else []),
        spread_text(len(run.seeds)),
        "The paper's figures are for LLaMA-7B against Davinci003, judged by Claude; its \N{PLUS-MINUS SIGN} 1.8 is "
        "about one standard error of 805 prompts, so its 95 % interval is twice as wide.",
    ]
    return Table.of("Win rate against the reference policy", header, rows, notes)


def _win_rate(row: PolicyWinRate | None) -> tuple[Cell, Cell | None, str | None]:
    """Cells with win rate, responses and mean length; the reference itself has no row."""
    if row is None:
        return Cell("50.0", "by definition"), None, None
    of = row.counts
    responses = None if of is None else Cell(str(of.n), f"{of.wins} / {of.losses} / {of.draws}")
    return _share(row.share), responses, plain(row.mean_length)


def gaps(run: Run) -> Table | None:
    """Differences between the rows of Table 1."""
    if not run.differences:
        return None
    rows: list[Row] = []
    shown, notes = shown_pairs(run, run.differences, run.win_rates)
    for name in in_order(shown, [f"{better}-{worse}" for better, worse in PAIRS if f"{better}-{worse}" in shown]):
        gap = run.differences[name]
        better, worse = paper.sides(name, run.win_rates)
        printed = ABSENT
        if better in paper.ARMS and worse in paper.ARMS:
            printed = Cell(signed(paper.TABLE_1[better].value - paper.TABLE_1[worse].value), kind="paper")
        above = "yes, above" if gap.above_zero else "no" if gap.covers_zero else "yes, below"
        rows.append((f"{better} over {worse}", Cell(signed(gap.value), points_interval(gap)), above, printed))
    notes = [f"Paired over the same {'seeds' if run.of_several else 'prompts'}.", *notes]
    return Table.of("Differences of win rates, in points", ("Gap", "Points", "Clear of 0", "The paper"), rows, notes)


def needs(run: Run) -> Table | None:
    """Edits still needed by policy."""
    if not run.needs:
        return None
    rows: list[Row] = []
    for policy in in_paper_order(run.needs):
        row = run.needs[policy]
        others = (_amount(row.get(name)) for name in ("edits", "words"))
        rows.append((label(policy, paper.ARM_LABELS), _share(row.get("accepted")), *others))
    notes = [
        f"What an editor ({', '.join(_editors(run))}) still changes in the answers to the evaluation prompts. Accepted "
        "as they are: answers in which nothing is changed. Edits: places that are changed. A word that is replaced is "
        "one that is changed, and a punctuation mark is a word; white space counts with align.restore_spacing: false.",
        spread_text(len(run.seeds)),
        *_not_accepted(run),
    ]
    header = ("Policy", "Accepted as they are, %", "Edits in 100 words", "Words changed in 100")
    return Table.of("What an editor still changes in the answers", header, rows, notes)


def _amount(figure: Figure | None) -> Cell | None:
    return None if figure is None else Cell(plain(figure.value), interval_text(figure, 1, None))


def _editors(run: Run) -> list[str]:
    return list(dict.fromkeys(name for needed in run.needed for name in needed.editors)) or ["unknown"]


def _not_accepted(run: Run) -> list[str]:
    """Say how many answers are not accepted whatever the editor did, and how many could not be counted."""
    notes = []
    for name, what in (
        ("cut_off", "Not accepted, since they ended at the length limit"),
        ("empty", "Not accepted, since they have no word"),
        ("unedited", "Counted nowhere, since they have no edit"),
    ):
        counts = []
        for policy in run.needs:
            rows = [one.policies[policy] for one in run.needed if policy in one.policies]
            count, total = sum(getattr(row, name) for row in rows), sum(row.answers + row.unedited for row in rows)
            counts += [f"{policy} {count:,} of {total:,}"] if count else []
        notes += [f"{what}: {', '.join(counts)} answers."] if counts else []
    return notes


def needs_gaps(run: Run) -> Table | None:
    """Differences between policies in the edits that they still need."""
    if not run.needs_differences:
        return None
    shown, notes = shown_pairs(run, run.needs_differences, run.needs)
    rows = [
        (
            _over(pair, run.needs),
            *(_points(run.needs_differences[pair].get(name)) for name in ("accepted", "edits", "words")),
        )
        for pair in shown
    ]
    header = ("Gap", "Accepted, points", "Edits in 100 words", "Words changed in 100")
    note = f"Paired over the same {'seeds' if run.of_several else 'prompts'}. Fewer edits and words are better."
    return Table.of("Differences of the edits still needed", header, rows, [note, *notes])


def _over(pair: str, policies: Collection[str]) -> str:
    return " over ".join(paper.sides(pair, policies))


def _points(gap: Figure | None) -> Cell | None:
    return None if gap is None else Cell(signed(gap.value), points_interval(gap))


def gleu(run: Run) -> Table | None:
    """GLEU by policy, where references judge, and how far it is above that of SFT."""
    if not run.gleu:
        return None
    others = {"sft": "Over SFT", **({"source": "Over the source"} if "source" in run.gleu else {})}
    rows: list[Row] = [
        (
            label(policy, paper.ARM_LABELS),
            _share(run.gleu[policy]),
            *(_points(run.gleu_differences.get(f"{policy}-{other}")) for other in others),
        )
        for policy in in_paper_order(run.gleu)
    ]
    note = (
        "GLEU (Napoles et al., 2015) against the references of the prompts, from 0 to 100. Intervals are over answers "
        "and over which reference is drawn; those of differences are paired."
    )
    return Table.of("Agreement with the references", ("Policy", "GLEU", *others.values()), rows, [note])


def gleu_gaps(run: Run) -> Table | None:
    """Differences of GLEU between the arms."""
    pairs = [pair for pair in run.gleu_differences if paper.sides(pair, run.gleu)[1] not in paper.NO_ARMS]
    shown, notes = shown_pairs(run, pairs, run.gleu)
    rows = [(_over(pair, run.gleu), _points(run.gleu_differences[pair])) for pair in shown]
    return Table.of("Differences of GLEU between policies", ("Gap", "GLEU"), rows, notes) if rows else None


def reward_accuracy(run: Run) -> Table | None:
    """Table 2: by the pairs that a model was trained on and those that it is tested on."""
    if not run.accuracy:
        return None
    tests = in_order((test for row in run.accuracy.values() for test in row), paper.TEST_LABELS)
    rows: list[Row] = []
    for model in in_order(run.accuracy, paper.MODEL_LABELS):
        own = paper.OWN_KIND.get(model)
        figures = (_share(run.accuracy[model].get(test), "own" if test == own else "") for test in tests)
        printed = next((printed for (trained, _), printed in paper.TABLE_2.items() if trained == model), None)
        rows.append((label(model, paper.MODEL_LABELS), *figures, _printed(printed)))
    counts = {
        test: row.n for tested in run.accuracy.values() for test, row in tested.items() if isinstance(row, Estimate)
    }
    pairs = ", ".join(f"{label(test, paper.TEST_LABELS).lower()} {counts[test]}" for test in tests if test in counts)
    notes = [
        "Share of held-out pairs in which the better text gets the higher reward. Marked cells: tested on the kind "
        "of pairs that the model was trained on. The paper's two figures seem to be such cells, which mixes two test "
        "sets and the noise of the labels; each column compares models on the same pairs.",
        spread_text(len(run.seeds), "pairs"),
        *([f"Pairs: {pairs}."] if pairs else []),
        *split_text(run),
    ]
    header = ("Trained", *(f"Tested: {label(test, paper.TEST_LABELS).lower()}" for test in tests), "The paper, %")
    return Table.of("Accuracy of the reward models, in percent", header, rows, notes)


def split_text(run: Run) -> list[str]:
    """Say how the held-out rows were chosen; nothing of the world's, which are made apart."""
    if not run.splits:
        return []
    split = next(iter(run.splits.values()))
    if split.by == "folds":
        text = f"Held out: one of {split.folds} folds by prompt in each seed."
    elif split.by == "files":
        rest = "" if len(split.own) == len(split.test) else "; the others were held out by prompt"
        text = f"Held out: files of their own for {' and '.join(split.own)}{rest}."
    else:
        text = f"Held out: about {100 * (split.test_share or 0):.0f} % of the rows, by prompt."
    shared = sum(sum(one.shared.values()) for one in run.splits.values())
    total = sum(sum(one.test.values()) for one in run.splits.values())
    rows = f"{shared:,} of {total:,} held-out rows have a prompt that is in training."
    return [f"{text} {rows if shared else 'No prompt of a test is in training.'}"]


SMALL_EDITS: Final = (
    "Editors of the small world change a few words. On edits by people, who change more, models trained with Eq. 3 or "
    "Eq. 4 point less well at what was wrong: docs/judging.md has figures."
)


def localisation(run: Run) -> Table | None:
    """Areas under the curve: do low token rewards point at flawed tokens."""
    if not run.localisation:
        return None
    names = {
        "edited_auroc": "Edited against kept tokens",
        "auroc": "Flawed against sound tokens",
        "values_auroc": "Wrong against right words in the same place",
        "eos_missing_auroc": "Last token, with or without something missing",
    }
    measures = in_order((measure for row in run.localisation.values() for measure in row), names)
    rows: list[Row] = []
    for model, row in run.localisation.items():
        figures = (row.get(measure) for measure in measures)
        cells = (None if one is None else Cell(plain(one.value, 3), interval_text(one, 3, 1.0)) for one in figures)
        rows.append((label(model, paper.MODEL_LABELS), *cells))
    note = (
        "The chance that a token of the first kind gets a lower reward than one of the second; .5 is guessing. "
        "Over all tokens this can be too high or too low, since some words are easier than others; words that "
        "belong in the same place, such as two capitals, compare fairly."
    )
    header = ("Model", *(label(measure, names) for measure in measures))
    notes = [note, SMALL_EDITS] if "auroc" in measures else [note]
    return Table.of("Do low rewards point at the flaws? (AUROC)", header, rows, notes)


TOKEN_KINDS: Final = {
    "edited": "edited away",
    "error_spans": "marked as errors by people",
    "agreed": "changed by two people",
}


def within(run: Run) -> Table | None:
    """Localisation within a response, beside the place alone."""
    means: Mapping[str, Mapping[str, Figure]] = run.within_means if run.pooled is None else run.pooled.within
    figures: dict[tuple[str, str], tuple[Figure | None, Figure | None]] = {
        (model, kind): (one, kinds.get(f"{kind}_later"))
        for model, kinds in means.items()
        for kind, one in kinds.items()
        if not kind.endswith("_later")
    }
    for model, of_model in run.within.items():
        for kind, row in of_model.items():
            own, place = (row.value, row.low, row.high), (row.later, row.later_low, row.later_high)
            figures[model, kind] = _seed_mean(*own), _seed_mean(*place)
    rows = [
        (label(model, paper.MODEL_LABELS), label(kind, TOKEN_KINDS), _area(one), _area(place))
        for (model, kind), (one, place) in figures.items()
    ]
    if not rows:
        return None
    notes = [
        "The chance that a token at fault has a lower reward than another token of the same response; .5 is guessing, "
        "and less points the wrong way. Later is worse: the same for the rule that a token is the worse the later it "
        "stands.",
        _pooled_text(run.pooled) if run.pooled else spread_text(len(run.seeds)),
    ]
    return Table.of(
        "Localisation within a response (AUROC)", ("Model", "Tokens", "AUROC", "Later is worse"), rows, notes
    )


def _seed_mean(value: float | None, low: float | None, high: float | None) -> Figure | None:
    return None if value is None else SeedMean(value=value, low=low, high=high)


def _area(figure: Figure | None) -> Cell | None:
    return None if figure is None else Cell(plain(figure.value, 3), interval_text(figure, 3, 1.0))


def pooled(run: Run) -> Table | None:
    """Accuracy over all items of a cross-validation."""
    if run.pooled is None:
        return None
    accuracy = run.pooled.accuracy
    tests = in_order((test for row in accuracy.values() for test in row), paper.TEST_LABELS)
    rows: list[Row] = []
    for model in in_order(accuracy, paper.MODEL_LABELS):
        shares = [accuracy[model].get(test) for test in tests]
        spreads = [None if share is None else number_text(share.spread) for share in shares]
        rows.append((label(model, paper.MODEL_LABELS), *map(_share, shares), *spreads))
    counted = ", ".join(
        f"{label(test, paper.TEST_LABELS).lower()} {one.n} of {one.prompts} prompts"
        for test in tests
        for one in [next(row[test] for row in accuracy.values() if test in row)]
    )
    notes = [_pooled_text(run.pooled), f"Items: {counted}. Spread: the standard deviation over repetitions."]
    names = [label(test, paper.TEST_LABELS).lower() for test in tests]
    header = ("Trained", *(f"Tested: {name}" for name in names), *(f"Spread: {name}" for name in names))
    return Table.of("Accuracy over all folds, in percent", header, rows, notes)


def _pooled_text(of_folds: PooledResults) -> str:
    times = "once" if of_folds.repetitions == 1 else f"in {of_folds.repetitions} repetitions"
    return (
        f"Over the held-out items of {of_folds.folds} folds by prompt, {times}. Intervals are 95 %, by bootstrap over "
        "prompts."
    )


def efficiency(run: Run) -> Table | None:
    """Table 3."""
    rows = [cells for arm, row in run.speeds.items() for cells in _efficiency_rows(row, arm, run.of_several)]
    rows += _reward_training_row(run)
    if not rows:
        return None
    several = " For several seeds these are medians." if run.of_several else ""
    notes = [
        "The step and the second of training at which the policy with sequence rewards has its best win rate on "
        f"the validation prompts, and those at which the {run.first_arm} policy first has as much.{several}",
        "Times are wall-clock: stages that ran at the same time slowed each other, so ratios of time are exact only "
        "for a run with --jobs 1; those of steps do not depend on it.",
        "The paper trained LLaMA-7B on eight A100; it compares with sequence rewards from preferences.",
    ]
    for arm, row in run.speeds.items():
        if row.ratios:
            ratios = ", ".join("never" if ratio is None else plain(ratio, 2) for ratio in row.ratios)
            notes.append(f"Ratios of steps against {arm}, by seed: {ratios}.")
    header = ("What", "Sequence reward", "Token rewards", "Ratio", "The paper")
    return Table.of("Cost of reaching the best win rate of a policy with sequence rewards", header, rows, notes)


def _efficiency_rows(row: Speed, arm: str, several: bool) -> list[Row]:
    never = _not_reached(row)
    rows: list[Row] = [
        (
            f"Steps, against {arm}",
            None if row.sequence_step is None else f"{row.sequence_step:g}",
            never if row.token_step is None else f"{row.token_step:g}",
            number_text(row.ratio, 2) or never,
            None,
        )
    ]
    if row.sequence_seconds is None and row.token_seconds is None:
        return rows
    reached = not (several and row.token_step is None)
    seconds = (
        f"Time, against {arm}",
        duration(row.sequence_seconds),
        never if row.token_seconds is None else duration(row.token_seconds),
        (number_text(row.seconds_ratio, 2) if reached else None) or never,
        _hours("ppo") if arm == "preference" else None,
    )
    return [*rows, seconds]


def _not_reached(row: Speed | None) -> Cell | None:
    return None if row is None or row.sequence_step is None else NOT_REACHED


def _reward_training_row(run: Run) -> list[Row]:
    sequence, token = (run.stages.get(f"reward-{model}") for model in ("sequence_comparisons", "token_edits"))
    if sequence is None or token is None:
        return []
    ratio = plain(token / sequence, 2) if sequence > 0 else None
    name = Cell("Reward model training", "preferences against edits")
    return [(name, duration(sequence), duration(token), ratio, _hours("reward"))]


def _hours(step: str) -> Cell:
    sequence, token = paper.TABLE_3_HOURS[step]
    return Cell(f"{sequence:g} h against {token:g} h", f"ratio {token / sequence:.2f}", "paper")


def flaws(run: Run) -> Table | None:
    """Flaws of each kind in 100 responses, before training and after."""
    if not run.flaws:
        return None
    policies = ["sft"] if "sft" in run.flaws else []
    policies += in_paper_order([policy for policy in run.flaws if policy != "sft"], last=("reference",))
    largest = max((value for row in run.flaws.values() for value in row.values()), default=0.0)
    rows = []
    for kind in dict.fromkeys(kind for row in run.flaws.values() for kind in row):
        cells = [Cell(kind.replace("_", " "))]
        for policy in policies:
            value = run.flaws[policy].get(kind)
            bar = None if value is None or largest <= 0 else value / largest
            cells.append(ABSENT if value is None else Cell(plain(value), bar=bar))
        rows.append(cells)
    rows.sort(key=lambda row: -float(row[1].bar or 0))
    total = [Cell(plain(sum(run.flaws[policy].values())), kind="total") for policy in policies]
    rows.append([Cell("all kinds", kind="total"), *total])
    short = {"sft": "SFT, before", "reference": "Reference"}
    header = ("Kind", *(label(policy, short) for policy in policies))
    return Table.of("Flaws in 100 responses", header, rows, ["The policies are named as in the learning curves."])


def stages(run: Run) -> Table | None:
    """Time of each stage."""
    if not run.stages:
        return None
    total, longest = sum(run.stages.values()), max(run.stages.values())
    rows = [
        (Cell(name), Cell(duration(seconds), bar=seconds / longest if longest > 0 else None))
        for name, seconds in run.stages.items()
    ]
    rows.append((Cell("sum of the stages", kind="total"), Cell(duration(total), kind="total")))
    wall = number(run.environment.get("wall_seconds"))
    if wall is not None:
        name = "the run, all seeds together" if run.of_several else "the run"
        rows.append((Cell(name, kind="total"), Cell(duration(wall), kind="total")))
    note = (
        f"{_each(run)}Wall-clock time of each stage. Where stages ran at the same time the run took less than their "
        "sum; it is the time in which at least one of them ran."
    )
    return Table.of("Time of each stage", ("Stage", "Time"), rows, [note])


def _each(run: Run) -> str:
    return "Means over the seeds. " if run.of_several else ""


def seeds(run: Run) -> Table | None:
    """Main figures of each seed, for a run of several."""
    if not run.of_several or not run.by_seed:
        return None
    arms = in_paper_order({arm for one in run.by_seed.values() for arm in one.win_rates if arm != "reference"})
    header = ("Seed", *(f"{arm}, %" for arm in arms), "Paper's order", "Token model on edits, %", "Ratio of steps")
    rows: list[Row] = []
    for seed, one in run.by_seed.items():
        rates = (plain(one.win_rates[arm].share.value) if arm in one.win_rates else None for arm in arms)
        accuracy = one.accuracy.get("token_edits", {}).get("edits")
        speed = one.speeds.get("edits")
        order = {"unknown": DASH, "broken": "no"}.get(verdict_of(one), "yes")
        ratio = number_text(None if speed is None else speed.ratio, 2) or _not_reached(speed)
        rows.append((str(seed), *rates, order, None if accuracy is None else plain(accuracy.value), ratio))
    note = "The ratio is that of Table 3 against the edits policy."
    return Table.of("Figures of each seed", header, rows, [note])


def curve_table(run: Run, seed: int) -> Table | None:
    """Numbers of the learning curves at the evaluation steps of one seed."""
    rows = []
    for arm, of_seed in run.curves.items():
        for row in of_seed.get(seed, ()):
            rate = number(row.get("eval/win_rate"))
            if rate is not None:
                others = (plain(number(row.get(key)), 2) for key in ("kl", "length", "reward"))
                rows.append((arm, f"{row['step']:g}", plain(rate), *others))
    if not rows:
        return None
    header = ("Policy", "Step", "Win rate, %", "KL, nats", "Length, tokens", "Reward")
    return Table.of(f"Learning curves at the evaluation steps, seed {seed}", header, rows)


def methods(run: Run) -> Table | None:
    """Every arm by its method and costs; None if all learn online from the SFT policy by one method: see Table 3."""
    every = run.costs.values()
    if all(costs.online and not costs.start for costs in every) and len({costs.method for costs in every}) < 2:
        return None
    rows = [_row(run, name, run.costs[name]) for name in in_paper_order(run.costs)]
    started = ", to the SFT policy or the arm that it started from" if any(costs.start for costs in every) else ""
    header = (
        *("Policy", "Win rate, %", "Learns from", "Reward model"),
        *("Training", "Sampled to learn", "Answering", "KL to start, nats" if started else "KL to SFT, nats"),
    )
    notes = (
        f"{_each(run)}Reward model and training: wall-clock time, with evaluation on the validation prompts; stages "
        "that ran side by side slowed each other. Two policies that share a reward model need it once.",
        "Sampled to learn: responses that were sampled in training, without those to the validation prompts.",
        "Answering: time for the evaluation prompts, and responses sampled for each, a cost of best-of-n at every use.",
        f"KL: of the checkpoint that was kept, on answers to the validation prompts{started}; "
        f"{AT_MOST}: the bound log n {MINUS} (n {MINUS} 1)/n of best-of-n.",
    )
    return Table.of("Methods on the same pairs: costs and use", header, rows, notes)


def _row(run: Run, name: str, costs: ArmCosts) -> Row:
    rate = run.win_rates.get(name)
    pairs = "" if costs.train_pairs is None else f"{costs.train_pairs:,.0f} pairs"
    step = "" if costs.step is None else f"kept: step {plain(costs.step, 0)}"
    kl = number_text(costs.kl, 2) if costs.kl_bound is None else f"{AT_MOST} {plain(costs.kl_bound, 2)}"
    start = "" if costs.start is None else f"from {costs.start.replace('_', ' ')}"
    return (
        Cell(name.replace("_", " "), ", ".join(filter(None, (costs.label, start)))),
        None if rate is None else _share(rate.share),
        Cell(costs.pairs.replace("_", " ") or DASH, pairs),
        duration(costs.reward_seconds) if costs.reward_seconds else None,
        Cell(duration(costs.training_seconds), step) if costs.stage is not None else None,
        f"{costs.sampled_in_training:,.0f}",
        Cell(duration(costs.answer_seconds), f"{costs.responses_per_prompt:g} a prompt"),
        Cell(kl, start) if kl is not None and start else kl,
    )


OF_RUN: Final = {
    "win_rates": ("Table 1: win rate", win_rates),
    "gaps": ("Paired differences", gaps),
    "gleu": ("GLEU", gleu),
    "gleu_gaps": ("Differences of GLEU", gleu_gaps),
    "needs": ("Edits still needed", needs),
    "needs_gaps": ("Differences of the edits still needed", needs_gaps),
    "methods": ("Methods", methods),
    "accuracy": ("Table 2: reward accuracy", reward_accuracy),
    "pooled": ("Cross-validation", pooled),
    "localisation": ("Localisation", localisation),
    "within": ("Localisation within a response", within),
    "efficiency": ("Table 3: training efficiency", efficiency),
    "seeds": ("Each seed", seeds),
    "flaws": ("Flaws", flaws),
    "stages": ("Time", stages),
}
"""Title and function of each table of a run, in the order of a page without charts."""
