"""What was found, in plain words computed from the tables, never stronger than the numbers.

Each finding has a title, what is seen, and how sure that is. ``clear`` is False where the numbers
do not tell an effect from noise; the words then say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from stratascope.report.data import ReportData
from stratascope.report.finding import Finding
from stratascope.report.text import (
    first_upper,
    interval,
    joined,
    number,
    plural,
    signed,
    source_name,
)


def findings(data: ReportData) -> list[Finding]:
    """In the order of the report's sections; a finding that the study has no numbers for is absent."""
    builders = (within, between, discriminating, roles, moved, drifted)
    found = (build(data) for build in (builders if data.runs else ()))
    return [finding for finding in found if finding is not None]


def _finite(*values: Any) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


def _on(data: ReportData) -> str:
    """`` on <last checkpoint>`` where a study has several."""
    return f" on {data.checkpoint_names[-1]}" if len(data.checkpoints) > 1 else ""


def _of_last(data: ReportData, rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows whose runs are all of the last checkpoint: checkpoints are not mixed into one mean."""
    last = {run.label for run in data.runs if run.checkpoint == data.checkpoint_names[-1]}
    return rows[rows[list(columns)].isin(last).all(axis=1)]


def _main_rows(data: ReportData, name: str) -> pd.DataFrame:
    table = data.table(name)
    return table if table.empty else table[table["source"] == data.main_source]


def within(data: ReportData) -> Finding | None:
    """The runs that answering moved most and least."""
    rows = _main_rows(data, "intra_run_report")
    rows = rows if rows.empty else _of_last(data, rows[rows["mean_cosine"].notna()], "run")
    if rows.empty:
        return None
    values = rows["mean_cosine"]
    low, high = rows.loc[values.idxmin()], rows.loc[values.idxmax()]
    if len(rows) == 1:
        words = (
            "Between the last prompt token and the end of the answer the state keeps a mean "
            "cosine of "
            f"{number(low['mean_cosine'])}; it moves most at layer "
            f"{low['most_divergent_layer']:.0f} "
            f"({number(low['min_cosine'])})."
        )
    else:
        words = (
            f"Answering{_on(data)} moves the state most in {low['run']} (mean cosine "
            f"{number(low['mean_cosine'])}, "
            f"lowest at layer {low['most_divergent_layer']:.0f}) and least in {high['run']} "
            f"({number(high['mean_cosine'])})."
        )
    return Finding("Within a run", words, _within_sure(data, values))


def _within_sure(data: ReportData, values: pd.Series) -> str:
    mean = float(values.mean())
    spread = f", standard deviation {number(float(values.std()))}" if len(values) > 1 else ""
    sure = f"{plural(len(values), 'run')}, {source_name(data.main_source)}: mean {number(mean)}{spread}. "
    layers = _main_rows(data, "intra_run_cosines")
    layers = layers if layers.empty else _of_last(data, layers, "run")
    if layers.empty or layers["background_cosine"].isna().all():
        return sure + "One conversation only, so there is no background to compare with."
    level = float(layers["background_cosine"].mean())
    noise = float(layers["background_std"].mean())
    if mean > level + noise:
        verdict = (
            "so a run stays closer to its own beginning than unrelated states are to each other"
        )
    elif mean < level - noise:
        verdict = "so answering moves a state more than two conversations differ on average"
    else:
        verdict = "so this is no more alike than unrelated states are"
    anyway = f"{number(level)} ± {number(noise)}"
    return f"{sure}States of different conversations have {anyway} anyway, {verdict}."


def between(data: ReportData) -> Finding | None:
    """The closest and the farthest pair of different conversations, after answering."""
    rows = _main_rows(data, "comparison_report")
    rows = rows if rows.empty else rows[(rows["state"] == "final") & rows["mean_cosine"].notna()]
    rows = rows if rows.empty else _of_last(data, rows, "run_a", "run_b")
    if rows.empty:
        return None
    parents = {run.label: run.parent for run in data.runs}
    different = rows[rows["run_a"].map(parents) != rows["run_b"].map(parents)]
    among = different if not different.empty else rows
    values = among["mean_cosine"]
    near, far = among.loc[values.idxmax()], among.loc[values.idxmin()]
    of = "of different conversations" if not different.empty else "of runs"
    of += " among those compared" if data.pairs_left_out else ""
    sure = (
        f"{plural(len(among), 'pair')}, {source_name(data.main_source)}: mean cosine "
        f"{number(float(values.mean()))}"
    )
    if len(among) > 1:
        sure += f", standard deviation {number(float(values.std()))}"
    if _finite(near["mean_centred_cosine"], far["mean_centred_cosine"]):
        sure += (
            f". Centred, the two pairs have {number(near['mean_centred_cosine'])} and "
            f"{number(far['mean_centred_cosine'])}"
        )
    if len(among) == 1:
        words = (
            f"After answering, {near['run_a']} and {near['run_b']} have a mean cosine of "
            f"{number(near['mean_cosine'])}."
        )
    else:
        words = (
            f"After answering, the closest pair {of}{_on(data)} is {near['run_a']} and {near['run_b']} "
            "(mean cosine "
            f"{number(near['mean_cosine'])}), the farthest {far['run_a']} and {far['run_b']} "
            f"({number(far['mean_cosine'])})."
        )
    return Finding("Between runs", words, sure + ".")


def _best(data: ReportData, checkpoint: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (
        data.metrics.get("checkpoints", {}).get(checkpoint, {}).get("best_discriminating_layer")
    )
    return found if found and found.get("value") is not None else None


def discriminating(data: ReportData) -> Finding | None:
    """The layer at which the last checkpoint tells its references apart most."""
    last = data.checkpoint_names[-1]
    best = _best(data, last)
    if best is None:
        return None
    on = f" of {last}" if len(data.checkpoints) > 1 else ""
    null: Any = best.get("null")
    lower: Any = best.get("lower")
    upper: Any = best.get("upper")
    clear = bool(_finite(null, lower) and lower > null)
    if clear:
        words = (
            f"Layer {best['layer']}{on} tells the references apart most: across references, a "
            "message's "
            f"centred cosines spread by {number(best['value'])}, more than the {number(null)} that "
            "references pointing elsewhere would give."
        )
    elif not _finite(null):
        words = (
            f"At layer {best['layer']}{on} the references are told apart most (spread "
            f"{number(best['value'])}), "
            "but there are too few messages to say what chance alone would give."
        )
    else:
        words = (
            f"No layer{on} clearly tells the references apart: even at layer {best['layer']} the "
            "spread of "
            f"{number(best['value'])} is not clearly above the {number(null)} that references "
            "pointing "
            "elsewhere would give."
        )
    sure = f"95 % interval {interval(lower, upper)}; " if _finite(lower, upper) else "No interval; "
    sure += (
        f"{plural(int(best['n']), 'distinct message')} from "
        f"{plural(int(best['conversations']), 'conversation')}. "
        "The layer was picked as the best of all, which flatters it."
    )
    return Finding("Where references come apart", words, sure, clear)


def roles(data: ReportData) -> Finding | None:
    """For which references user and assistant messages differ on the last checkpoint."""
    last = data.checkpoint_names[-1]
    found = data.metrics.get("checkpoints", {}).get(last, {}).get("user_minus_assistant") or {}
    known = {name: item for name, item in found.items() if _finite(item["difference"])}
    if not known:
        return None
    on = f" on {last}" if len(data.checkpoints) > 1 else ""
    clear = {
        name: item
        for name, item in known.items()
        if _finite(item["lower"], item["upper"]) and (item["lower"] > 0 or item["upper"] < 0)
    }
    parts = []
    for sign, who in ((1, "User"), (-1, "Assistant")):
        some = [
            f"{name} ({signed(item['difference'])}, {interval(item['lower'], item['upper'])})"
            for name, item in clear.items()
            if sign * item["difference"] > 0
        ]
        if some:
            other = "assistant" if who == "User" else "user"
            parts.append(
                f"{who} messages resemble {joined(some)} more than {other} messages do{on}."
            )
    rest = [name for name in known if name not in clear]
    if rest:
        parts.append(
            "No clear difference between user and assistant messages for "
            f"{joined(rest)}{'' if parts else on}."
        )
    users = max(item["n_user"] for item in known.values())
    answers = max(item["n_assistant"] for item in known.values())
    sure = (
        "Centred cosine, user minus assistant, with 95 % intervals; "
        f"{plural(users, 'user message')}, "
        f"{plural(answers, 'assistant message')}."
    )
    if len(known) > 1:
        sure += (
            f" {len(known)} references were looked at and the intervals are not corrected for that."
        )
    return Finding("User and assistant", " ".join(parts), sure, bool(clear))


def moved(data: ReportData) -> Finding | None:
    """From the first to the last checkpoint: change within a run, and telling references apart."""
    if len(data.checkpoints) < 2:
        return None
    names = data.checkpoint_names
    first, last = names[0], names[-1]
    rows = _main_rows(data, "intra_run_report")
    if rows.empty:
        return None
    places = {run.label: run for run in data.runs}
    table = rows.assign(
        scenario=[places[label].scenario for label in rows["run"]],
        checkpoint=[places[label].checkpoint for label in rows["run"]],
    ).pivot(index="scenario", columns="checkpoint", values="mean_cosine")
    if first not in table or last not in table:
        return None
    both = table[[first, last]].dropna()
    if both.empty:
        return None
    change = both[last] - both[first]
    up = int((change > 0).sum())
    way, most = ("rises", up) if 2 * up >= len(both) else ("falls", int((change < 0).sum()))
    words = (
        f"From {first} to {last} the mean cosine within a run goes from "
        f"{number(both[first].mean())} to "
        f"{number(both[last].mean())}; it {way} in {most} of {plural(len(both), 'prompt')}."
    )
    sure = f"Change {signed(float(change.mean()))}"
    if len(change) > 1:
        sure += f", standard deviation over prompts {number(float(change.std()))}"
    # Prompts cut from one conversation are not independent.
    talks = len({run.parent for run in data.runs if run.scenario in both.index})
    sure += f", n = {len(change)} from {plural(talks, 'conversation')}."
    one, two = _best(data, first), _best(data, last)
    clear = up in (0, len(both)) and talks > 2
    if one and two:
        words += (
            f" The spread between references at the best layer goes from {number(one['value'])} "
            f"(layer {one['layer']}) "
            f"to {number(two['value'])} (layer {two['layer']})"
        )
        if _finite(one["lower"], one["upper"], two["lower"], two["upper"]):
            apart = one["upper"] < two["lower"] or two["upper"] < one["lower"]
            words += "; the intervals do not overlap." if apart else "; the intervals overlap."
            ends = [interval(best["lower"], best["upper"]) for best in (one, two)]
            sure += f" Intervals {ends[0]} and {ends[1]}."
            clear = clear or apart
        else:
            words += "."
    return Finding("First to last checkpoint", words, sure, clear)


def drifted(data: ReportData) -> Finding | None:
    """How far the same prompt's state is from where the first checkpoint had it."""
    rows = _main_rows(data, "checkpoints")
    if len(data.checkpoints) < 2 or rows.empty:
        return None
    last = rows[rows["checkpoint"] == data.checkpoint_names[-1]]
    last = last[last["drift_first_cosine"].notna()]
    if last.empty:
        return None
    least = last.loc[last["drift_first_cosine"].idxmin()]
    most = last.loc[last["drift_first_cosine"].idxmax()]
    words = (
        f"The same prompt's state has moved from {data.checkpoint_names[0]} to "
        f"{data.checkpoint_names[-1]}: the cosine "
        f"between the two is {number(float(last['drift_first_cosine'].mean()))} on average over "
        "layers, lowest at layer "
        f"{least['layer']:.0f} ({number(least['drift_first_cosine'])}), highest at layer "
        f"{most['layer']:.0f} "
        f"({number(most['drift_first_cosine'])})."
    )
    count = plural(int(least["drift_first_n"]), "prompt")
    sure = f"{first_upper(source_name(data.main_source))}, mean over {count}."
    return Finding("Drift", words, sure)
