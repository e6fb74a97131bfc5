"""The tested claims in plain words, computed from `claims.csv`, never stronger than the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stratascope.report.findings import Finding
from stratascope.report.inputs import ReportData
from stratascope.report.text import first_upper, interval, joined, number, p_value, plural, signed

Numbers = Mapping[str, Any]

BADGES = {
    "found": "found",
    "opposite": "the opposite found",
    "not found": "not found",
    "too few": "too few data to tell",
}


@dataclass(frozen=True)
class Sentence:
    """What a claim comes to on one checkpoint: its verdict, what is seen, and how sure that is."""

    checkpoint: str
    verdict: str
    words: str
    sure: str

    @property
    def badge(self) -> str:
        """The verdict in a reader's words."""
        return BADGES[self.verdict]


@dataclass(frozen=True)
class Claim:
    """A claim: its name in the table, a title, what is claimed, and how it is tested.

    ``main`` is the quantity whose verdict is the claim's; ``words`` says what its rows on one
    checkpoint show, first with centred cosines (``rows``), then with raw ones.
    """

    name: str
    title: str
    claimed: str
    test: str
    main: str
    words: Callable[[pd.DataFrame], tuple[Numbers, str, str]]


def _row(rows: pd.DataFrame, quantity: str, centred: int = 1) -> Numbers | None:
    found = rows[(rows["quantity"] == quantity) & (rows["centred"] == centred)]
    return None if found.empty else dict(found.iloc[0])


def _level(row: Numbers) -> str:
    """``p = 0.003``, and corrected where that is another number."""
    if row["p_corrected"] == row["p"]:
        return p_value(row["p"])
    return f"{p_value(row['p'])}, corrected {p_value(row['p_corrected'])}"


def _from(row: Numbers, what: str = "message") -> str:
    return f"{plural(int(row['n']), what)} from {plural(int(row['conversations']), 'conversation')}"


def _ends(row: Numbers, digits: int = 3) -> str:
    return f"95 % interval {interval(row['lower'], row['upper'], digits)}"


def _told_apart(rows: pd.DataFrame) -> tuple[Numbers, str, str]:
    main, right = _row(rows, "auroc"), _row(rows, "balanced_accuracy")
    raw = _row(rows, "auroc", 0)
    assert main is not None and right is not None and raw is not None
    words = (
        f"at its best layer, {main['layer']:.0f}, a message that tells something is more similar to that "
        f"reference than a message that tells something else in {_share(main)} of pairs "
        f"(relabelled conversations: {main['null']:.0%}), and its nearest reference is the right one "
        f"for {_share(right)} of messages, each label counted alike (relabelled: {right['null']:.0%})"
    )
    if main["verdict"] == "found":
        words = f"They are told apart: {words}."
    elif main["verdict"] == "not found":
        words = (
            f"They are not told apart, as far as these messages show: even {words}. Relabelled "
            f"conversations reach as much somewhere in {main['p_corrected']:.0%} of draws."
        )
    else:
        words = f"{first_upper(words)}; but with so few labelled conversations that shows nothing."
    sure = (
        f"{_ends(main)} of the share of pairs; {_from(main)}; {_level(main)}. Raw cosines: "
        f"{_share(raw)} at layer {raw['layer']:.0f}, {_level(raw)}."
    )
    return main, words, sure


def _share(row: Numbers) -> str:
    return f"{row['estimate']:.0%}"


def _best_layer(rows: pd.DataFrame) -> tuple[Numbers, str, str]:
    main, layer = _row(rows, "lead_over_neighbours"), _row(rows, "layer")
    share, raw = _row(rows, "share_of_resamples"), _row(rows, "layer", 0)
    assert main is not None and layer is not None and share is not None and raw is not None
    place = f"{layer['estimate']:.0f}"
    if main["verdict"] == "found":
        words = f"Layer {place} tells them apart better than its neighbours, by {number(main['estimate'])}."
    else:
        words = (
            f"Layer {place} came out best, by {number(main['estimate'])} over its neighbours, which is not "
            "shown to be more than chance."
        )
    if pd.notna(share["estimate"]):
        words += (
            f" Of resampled conversations {share['estimate']:.0%} choose it (blind choice: "
            f"{share['null']:.0%}), and 95 % of choices lie between layers {layer['lower']:.0f} and "
            f"{layer['upper']:.0f}."
        )
    sure = (
        f"{_ends(main)} of the lead in AUROC; {_from(main)}; {_level(main)}, the choice of the layer "
        f"taken into account. Raw cosines: layer {raw['estimate']:.0f}."
    )
    return main, words, sure


def _gap(rows: pd.DataFrame) -> tuple[Numbers, str, str]:
    single = rows[(rows["quantity"] == "gap") & (rows["centred"] == 1)]
    clear = single[single["verdict"].isin(("found", "opposite"))]
    words = (
        f"Of {plural(len(single), 'reference')}, corrected for their number, user and assistant differ "
        f"for {joined([f'{r.reference} ({signed(r.estimate)})' for r in clear.itertuples()]) or 'none'}."
    )
    main, beyond = _row(rows, "gap_told"), _row(rows, "gap_told_beyond_others")
    if main is None or beyond is None:
        return dict(single.iloc[0]), words, f"{_from(single.iloc[0], 'pair')} of messages."
    raw = _row(rows, "gap_told", 0)
    words = (
        f"What a user's message tells, it resembles by {signed(main['estimate'])} more than the answer "
        f"to it does{_unsure(main)}; beyond what holds for the other references, by "
        f"{signed(beyond['estimate'])}{_unsure(beyond)}. {words}"
    )
    sure = (
        f"Centred cosine, user minus assistant: {_ends(main)}, {_level(main)}; beyond others "
        f"{_ends(beyond)}, {_level(beyond)}; {_from(main, 'pair')}."
    )
    if raw is not None:
        sure += f" Raw cosine: {signed(raw['estimate'])}, {_level(raw)}."
    return main, words, sure


def _unsure(row: Numbers) -> str:
    return {"not found": " (not clear)", "too few": " (too few conversations to tell)"}.get(
        row["verdict"], ""
    )


def _default(rows: pd.DataFrame) -> tuple[Numbers, str, str]:
    both = [_top(rows, quantity) for quantity in ("share_nearest", "share_nearest_untold")]
    main, untold = both
    assert main is not None
    count = len(rows[(rows["quantity"] == "share_nearest") & (rows["centred"] == 1)])
    words = (
        f"{first_upper(main['reference'])} is nearest most often: for {_share(main)} of messages, where "
        f"blind choice gives {1 / count:.0%} and the same references turned elsewhere "
        f"{main['null']:.0%} on average"
    )
    if main["verdict"] == "found":
        words = f"There is a default: {words}."
    elif main["verdict"] == "not found":
        words = f"No default is shown: {words}, and that often by chance."
    if untold is not None:
        words += (
            f" Of messages known to tell something else, {untold['reference']} is nearest to "
            f"{_share(untold)}{_unsure(untold)}."
        )
    raw = _top(rows, "share_nearest", 0)
    assert raw is not None
    sure = (
        f"{_ends(main)}; {_from(main)}; {_level(main)} (Holm's, over references and checkpoints). "
        f"Raw cosines: {raw['reference']}, {_share(raw)}, {_level(raw)}."
    )
    return main, words, sure


def _top(rows: pd.DataFrame, quantity: str, centred: int = 1) -> Numbers | None:
    some = rows[(rows["quantity"] == quantity) & (rows["centred"] == centred)]
    return None if some.empty else dict(some.loc[some["estimate"].idxmax()])


def _fading(rows: pd.DataFrame) -> tuple[Numbers, str, str]:
    main = _row(rows, "slope_since_told_beyond_others")
    plain, raw = _row(rows, "slope_since_told"), _row(rows, "slope_since_told_beyond_others", 0)
    length = _row(rows, "slope_of_told_beyond_others")
    assert main is not None and plain is not None and raw is not None
    much = f"{signed(main['estimate'])} a message"
    if main["verdict"] == "found":
        words = f"It fades: similarity to what was told, beyond that to other references, changes by {much}."
    elif main["verdict"] == "opposite":
        words = f"It grows: similarity to what was told, beyond that to other references, changes by {much}."
    else:
        words = (
            "That it fades is not shown: similarity to what was told, beyond that to other references, "
            f"changes by {much}{', with too few conversations to tell' * (main['verdict'] == 'too few')}."
        )
    words += (
        f" By itself it changes by {signed(plain['estimate'])}; similarity to what was not told then, by "
        f"{signed(plain['null'])}."
    )
    if length is not None:
        words += (
            f" The later in the conversation something is told, the more the match changes: by "
            f"{signed(length['estimate'])} a message{_unsure(length)}."
        )
    sure = (
        f"{_ends(main)}; {_from(main, 'similarity').replace('similaritys', 'similarities')}; {_level(main)}. "
        f"Raw cosines: {signed(raw['estimate'])}, {_level(raw)}."
    )
    return main, words, sure
