"""What `annotate` does without serving: write what people made, and say how far they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redpencil.cli.output import console, say
from redpencil.records import write_jsonl

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from redpencil.web.agreement import Alpha
    from redpencil.web.dashboard import PreferenceCount, Progress


def write_results(engine: "Engine", edits: Path | None, comparisons: Path | None) -> dict[str, Any]:
    """Export what is asked for, and say what is not in it."""
    from redpencil.web.database import reading
    from redpencil.web.items import count_exports, export_comparisons, export_edits

    done: dict[str, Any] = {}
    if edits is None and comparisons is None:
        return done
    with reading(engine) as connection:
        if edits is not None:
            done["edits"] = write_jsonl(edits, export_edits(connection))
            say(f"{done['edits']:,} edits in {edits}")
        if comparisons is not None:
            done["comparisons"] = write_jsonl(comparisons, export_comparisons(connection))
            say(f"{done['comparisons']:,} comparisons in {comparisons}")
        counts = count_exports(connection)
    done["left_out"] = {"skipped": counts.skipped, "known_answers": counts.known_answers}
    reasons = ((counts.skipped, "skipped"), (counts.known_answers, "on items with a known answer"))
    if any(count for count, _ in reasons):
        say("not in it: " + ", ".join(f"{count:,} {reason}" for count, reason in reasons if count))
    return done


def say_reach(links: Sequence[str]) -> None:
    """Say so where links lead to this machine alone."""
    from redpencil.web.auth import loopback_port

    port = loopback_port(links[0]) if links else None  # all begin alike
    if port is not None:
        these = "This link works" if len(links) == 1 else "These links work"
        say(f"{these} on this machine only, at port {port}; for others give --host and --base-url.")


def look_at(engine: "Engine") -> "tuple[Progress, tuple[PreferenceCount, ...]]":
    """How far the work is now, and what is preferred in comparisons."""
    from redpencil.web.dashboard import preference_counts, progress
    from redpencil.web.database import reading

    with reading(engine) as connection:
        return progress(connection), preference_counts(connection)


def tell(found: "Progress", preferences: "Sequence[PreferenceCount]") -> None:
    """How far the work is, in a few lines."""
    items, of = found.items, found.agreement.overall
    people = "1 person" if found.editors_per_item == 1 else f"{found.editors_per_item} people"
    console.print(
        f"{found.title}: {items.done:,} of {items.total:,} items done, {items.started:,} begun, {items.waiting:,} "
        f"waiting; each is for {people}"
    )
    for person in found.people:
        if person.done or person.skipped:
            pace = "" if person.median_seconds is None else f", {person.median_seconds:.0f} s an item in the median"
            kept = "" if person.kept is None else f", {person.kept:.0%} of the words kept"
            console.print(f"  {person.name}: {person.done:,} done, {person.skipped:,} skipped{pace}{kept}")
    for one in preferences:
        first, second = one.names
        console.print(f"{first} preferred: {one.first:,}; {second}: {one.second:,}; tie: {one.tie:,}")
    named = (("outcome", of.outcome), ("words changed", of.words), ("preference", of.preference))
    told = [f"{name} {_alpha(alpha)}" for name, alpha in named if alpha.value is not None]
    console.print(f"Krippendorff's alpha: {'; '.join(told) or 'not yet, as no two people have done the same items'}")
    if found.disputed:
        wait = "item on which people differ waits" if found.disputed == 1 else "items on which people differ wait"
        console.print(f"{found.disputed:,} {wait} for a reviewer")


def _alpha(alpha: "Alpha") -> str:
    interval = "" if alpha.low is None or alpha.high is None else f", {alpha.low:.2f} to {alpha.high:.2f}"
    return f"{alpha.value:.2f} ({alpha.items:,} items{interval})"
