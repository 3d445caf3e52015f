"""An LLM as a judge of pairs of responses.

Each pair is asked about in both orders, or in one drawn at random; `redpencil.evaluation.judge_templates` makes a
verdict of the answers.
"""

from collections.abc import Iterable, Sequence
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
from redpencil.providers.base import Provider, Usage
from redpencil.providers.cache import ResponseCache
from redpencil.providers.job import NEVER_ASKED, Conversation, Exchange, ProviderJob
from redpencil.providers.prices import Price, cost
from redpencil.records import Comparison, Preference
from redpencil.runs import derive_seed

Orders = Literal["both", "one"]
ORDERS: Final[tuple[Orders, ...]] = get_args(Orders)
_ANSWER_BYTES: Final = 400
"""Expected length of an answer, for estimates: a sentence or two and the verdict."""


@dataclass(frozen=True, slots=True)
class JudgeStyle:
    """The way in which pairs are judged.

    Args:
        template: the request, and the form of its answer.
        orders: both, or one that is drawn at random for each id.
        seed: of that draw.
    """

    template: JudgeTemplate = DEFAULT
    orders: Orders = "both"
    seed: int = 0

    def shown_first(self, name: str) -> tuple[Preference, ...]:
        """Return the response that is shown first, for each order in which the pair with this id is asked about."""
        if self.orders == "both":
            return Preference.FIRST, Preference.SECOND
        return (Preference.SECOND if derive_seed(self.seed, "judge", name) % 2 else Preference.FIRST,)


def judge_name(provider: Provider, style: JudgeStyle) -> str:
    """Name an LLM judge by its model and its template; every judgement has this name as its annotator."""
    return f"{provider.name} ({style.template.name})"


def judge_job(
    pairings: Iterable[Pairing],
    provider: Provider,
    style: JudgeStyle,
    cache: ResponseCache,
    price: Price | None = None,
) -> ProviderJob[Pairing, Comparison]:
    """Make the job that asks for a judgement of each pair. The same text on both sides is a tie without a request.

    `first` is the policy's response. `meta` is that of the pairing and also gets

    - `verdicts`: one entry for each order: the response that was `shown_first`, the `verdict` on the pair (first,
      second, tie or none) and the judge's `reason`, which names the outputs in the order in which it saw them; without
      a verdict the `problem`, and the `answer` that could not be used or `why` there is none;
    - `flipped`: for two orders with a verdict, True if the verdicts differ, which makes a tie;
    - `problem`: why the pair has no verdict;
    - `usage`: tokens of the answers, if the server counts them, and `cost` in US dollars, if `price` is known;
    - `same_text`: True for the same text on both sides.

    The job raises a `RedpencilError` if a prompt comes with an input and the template has no place for it.
    """
    answer_bytes = _ANSWER_BYTES if style.template.answer.kind == "json" else _ANSWER_BYTES // 4
    name = judge_name(provider, style)
    return ProviderJob(
        rows=pairings,
        requests_of=lambda pairing: _requests(pairing, style),
        result_of=lambda pairing, exchanges: _judgement(pairing, exchanges, style, name, price),
        answer_bytes=lambda _: answer_bytes,
        provider=provider,
        cache=cache,
    )


def _requests(pairing: Pairing, style: JudgeStyle) -> Conversation:
    """Ask about the pair once for each order."""
    if pairing.first == pairing.second:
        return
    instruction, context = pairing.instruction or pairing.prompt, pairing.input
    if instruction != pairing.prompt and not style.template.has_input:
        instruction, context = pairing.prompt, ""  # the prompt holds the input
    for shown_first in style.shown_first(pairing.id):
        outputs = (pairing.first, pairing.second)
        if shown_first is Preference.SECOND:
            outputs = (pairing.second, pairing.first)
        yield render_judge_prompt(style.template, instruction, *outputs, context)


def _judgement(
    pairing: Pairing, exchanges: Sequence[Exchange], style: JudgeStyle, judge: str, price: Price | None
) -> Comparison:
    meta: dict[str, Any] = dict(pairing.meta)
    if exchanges:
        orders = zip(style.shown_first(pairing.id), exchanges, strict=True)
        verdicts = [_verdict(exchange, style, shown_first) for shown_first, exchange in orders]
        combined = combine(verdicts)
        meta["verdicts"] = [verdict.row for verdict in verdicts]
        if combined.flipped is not None:
            meta["flipped"] = combined.flipped
        if combined.problem is not None:
            meta["problem"] = combined.problem.value
        meta |= _usage_and_cost(exchanges, price)
    else:
        combined = Combined(Preference.TIE)
        meta["same_text"] = True
    texts = (pairing.prompt, pairing.first, pairing.second)
    return Comparison(pairing.id, *texts, combined.preference, annotator=judge, meta=meta)


def _verdict(exchange: Exchange, style: JudgeStyle, shown_first: Preference) -> OrderVerdict:
    if exchange.completion is not None:
        return order_verdict(exchange.completion, style.template.answer, shown_first)
    problem = Problem.NEVER_ASKED if exchange.problem is None else Problem.FAILED
    return OrderVerdict(shown_first, Preference.NONE, problem=problem, detail=exchange.problem or NEVER_ASKED)


def _usage_and_cost(exchanges: Sequence[Exchange], price: Price | None) -> dict[str, Any]:
    counts = [(one.completion.usage, one.batch) for one in exchanges if one.completion and one.completion.usage]
    if not counts:
        return {}
    usage = Usage(sum(one.input_tokens for one, _ in counts), sum(one.output_tokens for one, _ in counts))
    row: dict[str, Any] = {"usage": asdict(usage)}
    if price is not None:
        row["cost"] = sum(cost(one, price, batch=batch) for one, batch in counts)
    return row
