"""The tested claims in plain words, computed from claims.csv, never stronger than the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.finding import Finding
from stratascope.report.text import interval, joined, number, plural, signed

Numbers = Mapping[str, Any]

ANSWERS = {
    "found": "Yes",
    "opposite": "The opposite",
    "not found": "Not shown",
    "too few": "Too few conversations to tell",
}


@dataclass(frozen=True)
class Sentence:
    """What a claim comes to on one checkpoint: the verdict, what is seen, and how sure that is."""

    checkpoint: str
    verdict: str
    words: str
    sure: str

    @property
    def answer(self) -> str:
        """The verdict in a reader's words."""
        return ANSWERS[self.verdict]


@dataclass(frozen=True)
class Claim:
    """A claim as Activation Lab stated it, and how it is tested.

    ``describe`` puts the rows of one checkpoint into words; None where the claim has none.
    """

    name: str
    title: str
    claimed: str
    test: str
    describe: Callable[[pd.DataFrame], tuple[Numbers, str, str] | None]


def sentences(data: ReportData, claim: Claim) -> list[Sentence]:
    """A claim on every checkpoint it was tested on, in the study's order."""
    table = data.table("claims")
    found = []
    for name in data.checkpoint_names if not table.empty else ():
        described = claim.describe(table[table["checkpoint"] == name])
        if described is not None:
            main, words, sure = described
            found.append(Sentence(name, main["verdict"], words, sure))
    return found


def tested(data: ReportData) -> list[Finding]:
    """One finding for the summary: what came of the claims on the last checkpoint."""
    last: dict[str, list[str]] = {}
    for claim in CLAIMS:
        for sentence in sentences(data, claim):
            if sentence.checkpoint == data.checkpoint_names[-1]:
                last.setdefault(sentence.verdict, []).append(claim.title)
    if not last:
        return []
    parts = [
        f"{ANSWERS[verdict].lower()}: {joined(last[verdict])}"
        for verdict in ANSWERS
        if verdict in last
    ]
    words = f"On {data.checkpoint_names[-1]}, {'; '.join(parts)}."
    sure = (
        "Each claim has a null of its own and is corrected for the comparisons made; the section “Claims, "
        "tested” has the numbers."
    )
    return [Finding("Claims about emotions", words, sure, "found" in last)]


def _row(rows: pd.DataFrame, quantity: str, centred: int = 1) -> Numbers | None:
    found = rows[(rows["quantity"] == quantity) & (rows["centred"] == centred)]
    return None if found.empty else dict(found.iloc[0])


def _p(value: float) -> str:
    if not math.isfinite(value):
        return "not tested"
    return "p < 0.001" if value < 0.001 else f"p = {number(value)}"


def _level(row: Numbers) -> str:
    corrected = _p(row["p_corrected"])
    return corrected if corrected == _p(row["p"]) else f"{_p(row['p'])}, corrected {corrected}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else "\u2013"


def _how_sure(row: Numbers, unit: str, units: str | None = None) -> str:
    return (
        f"95 % interval {interval(row['lower'], row['upper'])}; {plural(int(row['n']), unit, units)} from "
        f"{plural(int(row['conversations']), 'conversation')}; {_level(row)}."
    )


def _aside(row: Numbers) -> str:
    """What stands behind a number that is not the claim's own."""
    return "" if row["verdict"] in ("found", "opposite") else " (not clear)"


def _told_apart(rows: pd.DataFrame) -> tuple[Numbers, str, str] | None:
    main, raw = _row(rows, "auroc"), _row(rows, "auroc", 0)
    right = _row(rows, "balanced_accuracy")
    if main is None or raw is None or right is None:
        return None
    pairs = (
        "a message that tells something is more similar to that reference than one that tells "
        f"something else in {_percent(main['estimate'])} of pairs"
    )
    if main["verdict"] == "not found":
        words = (
            f"Even at the best layer, {main['layer']:.0f}, {pairs}, and relabelled conversations give as "
            f"much at some layer in {_percent(main['p_corrected'])} of draws: nothing was found."
        )
    else:
        words = (
            f"At the best layer, {main['layer']:.0f}, {pairs}, where relabelled conversations give "
            f"{_percent(main['null'])}."
        )
    words += (
        f" There the nearest reference is the right one for {_percent(right['estimate'])} of messages, each "
        f"label counted alike (relabelled: {_percent(right['null'])})."
    )
    sure = (
        f"{_how_sure(main, 'message')} Raw cosines: {_percent(raw['estimate'])} at layer {raw['layer']:.0f}, "
        f"{_level(raw)}."
    )
    return main, words, sure


def _best_layer(rows: pd.DataFrame) -> tuple[Numbers, str, str] | None:
    main, told = _row(rows, "lead_over_neighbours"), _row(rows, "auroc")
    layer, share, raw = (
        _row(rows, "layer"),
        _row(rows, "share_of_resamples"),
        _row(rows, "layer", 0),
    )
    if main is None or told is None or layer is None or share is None or raw is None:
        return None
    words = f"Layer {layer['estimate']:.0f} is {number(main['estimate'])} above its neighbours."
    if math.isfinite(share["estimate"]):
        words += (
            f" Of resamples {_percent(share['estimate'])} choose it (blind choice: "
            f"{_percent(share['null'])}), and 95 % a layer from {layer['lower']:.0f} to {layer['upper']:.0f}."
        )
    if told["verdict"] != "found":
        words += " But no layer was shown to tell references apart at all, so any choice is chance."
    sure = f"AUROC; {_how_sure(main, 'message')} Raw cosines: layer {raw['estimate']:.0f}."
    return main, words, sure


def _gap(rows: pd.DataFrame) -> tuple[Numbers, str, str] | None:
    main, beyond = _row(rows, "gap_told"), _row(rows, "gap_told_beyond_others")
    raw = _row(rows, "gap_told", 0)
    if main is None or beyond is None or raw is None:
        return None
    words = (
        "Similarity of a user's message to what it tells, minus that of the answer to it: "
        f"{signed(main['estimate'])}; beyond the difference at the other references: "
        f"{signed(beyond['estimate'])}{_aside(beyond)}. {_by_reference(rows)}"
    )
    sure = f"{_how_sure(main, 'pair')} Raw cosine: {signed(raw['estimate'])}, {_level(raw)}."
    return main, words, sure


def _by_reference(rows: pd.DataFrame) -> str:
    single = rows[(rows["quantity"] == "gap") & (rows["centred"] == 1)]
    clear = single[single["verdict"].isin(("found", "opposite"))]
    named = [
        f"{label} ({signed(difference)})"
        for label, difference in zip(clear["reference"], clear["estimate"], strict=True)
    ]
    count = plural(len(single), "reference")
    return f"Of {count}, corrected for their number, a clear difference: {joined(named) or 'none'}."


def _default(rows: pd.DataFrame) -> tuple[Numbers, str, str] | None:
    main, raw = _row(rows, "largest_share"), _row(rows, "largest_share", 0)
    if main is None or raw is None:
        return None
    every = rows[(rows["quantity"] == "share_nearest") & (rows["centred"] == 1)]
    own = dict(every[every["reference"] == main["reference"]].iloc[0])
    words = (
        f"Nearest most often is {main['reference']}, to {_percent(main['estimate'])} of messages. Blind "
        f"choice gives {_percent(own['null'])}{_aside(own)}; of the same references turned elsewhere the "
        f"most frequent has {_percent(main['null'])}."
    )
    untold = _top(rows, "share_nearest_untold")
    if untold is not None:
        words += (
            f" Of messages that tell something else, {untold['reference']} is nearest to "
            f"{_percent(untold['estimate'])}{_aside(untold)}."
        )
    sure = (
        f"{_how_sure(main, 'message')} Raw cosines: {raw['reference']}, {_percent(raw['estimate'])}, "
        f"{_level(raw)}."
    )
    return main, words, sure


def _top(rows: pd.DataFrame, quantity: str) -> Numbers | None:
    some = rows[(rows["quantity"] == quantity) & (rows["centred"] == 1)]
    return None if some.empty else dict(some.loc[some["estimate"].idxmax()])


def _fading(rows: pd.DataFrame) -> tuple[Numbers, str, str] | None:
    main, raw = (_row(rows, "slope_since_told_beyond_others", centred) for centred in (1, 0))
    plain, late = _row(rows, "slope_since_told"), _row(rows, "slope_of_told_beyond_others")
    if main is None or raw is None or plain is None:
        return None
    words = (
        "With each message since something was told, similarity to it changes by "
        f"{signed(main['estimate'])} against similarity to the other references. By itself it changes by "
        f"{signed(plain['estimate'])}; under relabelling, by {signed(plain['null'])}."
    )
    if late is not None:
        words += (
            " With each message that comes before it, a message resembles what it tells by "
            f"{signed(late['estimate'])} more{_aside(late)}."
        )
    sure = (
        f"{_how_sure(main, 'similarity', 'similarities')} Raw cosines: {signed(raw['estimate'])}, "
        f"{_level(raw)}."
    )
    return main, words, sure


CLAIMS = (
    Claim(
        "told_apart", "references are told apart",
        "Messages that are known to tell something are told apart by their similarity to the references.",
        "AUROC of each reference's cosine, mean over labels, at the best layer of the residual stream. Null: "
        "labels exchanged within whole conversations. Corrected over layers, sources, checkpoints, and both "
        "kinds of cosine (largest statistic).",
        _told_apart,
    ),
    Claim(
        "best_layer", "one layer discriminates best",
        "One layer is the most discriminating of all.",
        "Its lead in AUROC over the mean of its neighbours. Null: the signs of conversations' contributions "
        "flipped; the largest lead of all layers counts, and corrected of all checkpoints.",
        _best_layer,
    ),
    Claim(
        "gap", "users are nearer to what they tell than the answers are",
        "The assistant's state moves towards what the user tells, but never all the way.",
        "A user's message minus the assistant's next, mean over layers. Null: the signs of whole "
        "conversations flipped, for “beyond” their labels exchanged. Corrected over references and "
        "checkpoints.",
        _gap,
    ),
    Claim(
        "default", "one reference is the default",
        "One reference (there it was joy) is nearest whatever is told.",
        "How often the most frequent reference is nearest, by the mean over layers. Null: all references "
        "turned as one rigid body to point elsewhere in the space of the messages. Holm's correction over "
        "checkpoints.",
        _default,
    ),
    Claim(
        "fading", "memory of what was told fades",
        "Similarity to an emotion fades as the conversation goes on.",
        "Slope of the similarity, mean over layers, by messages since something was told; each telling has a "
        "level of its own. Null: labels exchanged within whole conversations. Corrected over checkpoints.",
        _fading,
    ),
)  # fmt: skip
