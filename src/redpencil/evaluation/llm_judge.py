"""An LLM as a judge of pairs of responses, over the providers and the response cache that the LLM editor uses too.

Each pair is asked about in both orders, or in one drawn by lot; `redpencil.evaluation.judge_templates` says how the
answers become a verdict. Asking and reading are separate steps, see `redpencil.providers.cache`.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from redpencil.evaluation.judge_templates import (
    DEFAULT,
    Combined,
    JudgeTemplate,
    OrderVerdict,
    Problem,
    combine,
    order_verdict,
    render_judge_prompt,
)
from redpencil.evaluation.judges import Pairing
from redpencil.providers.base import Completion, Provider, Request, Result, Usage, request_key
from redpencil.providers.cache import NEVER_ASKED, Journal, ask_due, open_journal, unanswered
from redpencil.providers.prices import Price, cost
from redpencil.records import Comparison, Preference
from redpencil.runs import derive_seed

Orders = Literal["both", "one"]
ORDERS: Final[tuple[Orders, ...]] = get_args(Orders)
_ANSWER_BYTES: Final = 400
"""What an answer is taken to be long, for estimates: a sentence or two and the verdict."""


@dataclass(frozen=True, slots=True)
class JudgeStyle:
    """How pairs are judged.

    Args:
        template: the request, and the form of its answer.
        orders: both, or one that is drawn by lot for each id.
        seed: of the lot.
    """

    template: JudgeTemplate = DEFAULT
    orders: Orders = "both"
    seed: int = 0

    def shown_first(self, name: str) -> tuple[Preference, ...]:
        """Which response is shown first, in each order that the pair with this id is asked about in."""
        if self.orders == "both":
            return Preference.FIRST, Preference.SECOND
        return (Preference.SECOND if derive_seed(self.seed, "judge", name) % 2 else Preference.FIRST,)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be asked. `same` pairs have one text on both sides and are ties. `answered` and `to_ask` count
    requests, `interrupted` those to ask that were under way when an earlier process ended. Bytes are of those to ask,
    in UTF-8; how long the answers will be is a guess.
    """

    pairs: int
    same: int
    answered: int
    to_ask: int
    interrupted: int
    input_bytes: int
    output_bytes: int


def judge_name(provider: Provider, style: JudgeStyle) -> str:
    """Who judges: the model and the template."""
    return f"{provider.name} ({style.template.name})"


def plan_judgements(
    pairings: Iterable[Pairing],
    provider: Provider,
    style: JudgeStyle,
    journal: Journal,
    asked: Container[str] = frozenset(),
) -> Plan:
    """Count what `ask_for_judgements` would ask now.

    Raises:
        RedpencilError: as `all_answers`.
    """
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    for pairing in pairings:
        counts["pairs"] += 1
        counts["same"] += pairing.first == pairing.second
        for _, request, completion in _asked(pairing, provider, style, journal):
            if request.key in seen or request.key in asked:
                continue
            seen.add(request.key)
            if completion is not None:
                counts["answered"] += 1
                continue
            counts["to_ask"] += 1
            counts["interrupted"] += journal.under_way(request.key)
            counts["input_bytes"] += sum(len(turn.content.encode()) for turn in request.messages)
            counts["output_bytes"] += _ANSWER_BYTES if style.template.answer.kind == "json" else _ANSWER_BYTES // 4
    names = ("pairs", "same", "answered", "to_ask", "interrupted", "input_bytes", "output_bytes")
    return Plan(**{name: counts[name] for name in names})


def all_answers(
    pairings: Iterable[Pairing], provider: Provider, style: JudgeStyle, journal: Journal
) -> Iterator[tuple[Request, Completion | None]]:
    """Every request about these pairs, with its answer where there is one.

    Raises:
        RedpencilError: if a prompt comes with an input and the template has no place for it.
    """
    for pairing in pairings:
        for _, request, completion in _asked(pairing, provider, style, journal):
            yield request, completion


def ask_for_judgements(
    pairings: Sequence[Pairing],
    provider: Provider,
    style: JudgeStyle,
    journal: Journal,
    asked: set[str],
    enough: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Ask for what has no answer yet and yield each result after the journal has it, as `asking.ask_due`.

    Raises:
        RedpencilError: as `all_answers`, or where no request can succeed.
    """
    return ask_due(
        lambda: unanswered(all_answers(pairings, provider, style, journal)), provider, journal, asked, enough
    )


def read_judgements(
    pairings: Iterable[Pairing], provider: Provider, style: JudgeStyle, journal: Journal, price: Price | None = None
) -> Iterator[Comparison]:
    """Every pair gives one judgement, by the answers in the journal; the same text on both sides is a tie.

    `first` is the policy's response. `meta` is that of the pairing and also gets

    - `verdicts`: one entry for each order: which response was `shown_first`, the `verdict` on the pair (first, second,
      tie or none), the judge's `reason`, which speaks of the outputs as they were shown; and where there is no verdict
      the `problem`, with the `answer` that could not be used, or `why` there is none;
    - `flipped`: where two orders have a verdict, whether they differ, which makes a tie;
    - `problem`: why the pair has no verdict;
    - `usage`: tokens of the answers, where they were counted, and `cost` in US dollars, where `price` is known;
    - `same_text`: True where nobody was asked.
    """
    for pairing in pairings:
        yield _judgement(pairing, provider, style, journal, price)


def judge_with(pairings: Sequence[Pairing], provider: Provider, style: JudgeStyle | None = None) -> list[Comparison]:
    """Ask and read in one go, with a journal in memory."""
    style = style or JudgeStyle()
    with open_journal() as journal:
        for _ in ask_for_judgements(pairings, provider, style, journal, set()):
            pass
        return list(read_judgements(pairings, provider, style, journal))


def _asked(
    pairing: Pairing, provider: Provider, style: JudgeStyle, journal: Journal
) -> Iterator[tuple[Preference, Request, Completion | None]]:
    """The requests about a pair by the response that is shown first, with their answers."""
    if pairing.first == pairing.second:
        return
    for shown_first in style.shown_first(pairing.id):
        outputs = (pairing.first, pairing.second)
        if shown_first is Preference.SECOND:
            outputs = (pairing.second, pairing.first)
        instruction, given = pairing.instruction or pairing.prompt, pairing.input
        if instruction != pairing.prompt and not style.template.has_input:
            instruction, given = pairing.prompt, ""  # which holds the input
        turns = render_judge_prompt(style.template, instruction, *outputs, given)
        request = Request(request_key(provider.identity, turns), tuple(turns))
        yield shown_first, request, journal.find(request.key)


def _judgement(
    pairing: Pairing, provider: Provider, style: JudgeStyle, journal: Journal, price: Price | None
) -> Comparison:
    meta: dict[str, Any] = dict(pairing.meta)
    found = list(_asked(pairing, provider, style, journal))
    if found:
        verdicts = [_order(shown_first, request, answer, style, journal) for shown_first, request, answer in found]
        combined = combine(verdicts)
        meta["verdicts"] = [verdict.row for verdict in verdicts]
        if combined.flipped is not None:
            meta["flipped"] = combined.flipped
        if combined.problem is not None:
            meta["problem"] = combined.problem.value
        meta |= _spent([(request, answer) for _, request, answer in found], journal, price)
    else:
        combined = Combined(Preference.TIE)
        meta["same_text"] = True
    name = judge_name(provider, style)
    return Comparison(
        pairing.id, pairing.prompt, pairing.first, pairing.second, combined.preference, annotator=name, meta=meta
    )


def _order(
    shown_first: Preference, request: Request, answer: Completion | None, style: JudgeStyle, journal: Journal
) -> OrderVerdict:
    if answer is not None:
        return order_verdict(answer, style.template.answer, shown_first)
    why = journal.problem(request.key)
    problem = Problem.NEVER_ASKED if why is None else Problem.FAILED
    return OrderVerdict(shown_first, Preference.NONE, problem=problem, detail=why or NEVER_ASKED)


def _spent(
    answers: Iterable[tuple[Request, Completion | None]], journal: Journal, price: Price | None
) -> dict[str, Any]:
    counted = [(request.key, answer.usage) for request, answer in answers if answer is not None and answer.usage]
    if not counted:
        return {}
    usage = Usage(sum(used.input_tokens for _, used in counted), sum(used.output_tokens for _, used in counted))
    told: dict[str, Any] = {"usage": asdict(usage)}
    if price is not None:
        told["cost"] = sum(cost(used, price, batch=journal.of_batch(key)) for key, used in counted)
    return told
