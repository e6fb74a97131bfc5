"""What to change so that a job fits: each change by the setting that makes it, cheapest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from stratascope.study.estimate.cost import Estimate, estimate
from stratascope.study.estimate.work import ITEM_BYTES, TextWork, Work, chosen

# How many ways are named.
WAYS = 3

Fits = Callable[[Estimate], bool]


@dataclass(frozen=True)
class Change:
    """A setting as it is written in YAML, and the job that it leaves."""

    setting: str
    work: Work


@dataclass(frozen=True)
class Way:
    """Settings that together make a job fit, and what it then takes."""

    settings: tuple[str, ...]
    estimate: Estimate


# Gives the changed job; none where there is nothing to change.
Remedy = Callable[[Work, Fits], Change | None]


def ways_to_fit(work: Work, fits: Fits) -> list[Way]:
    """The three cheapest ways to make ``work`` fit; none if not even all changes together do.

    Fewer changes come first; of as many, those that lose less, in the order of ``REMEDIES``. A way
    that only adds to another is left out, and more than two changes are named if no fewer do.
    """
    found: dict[frozenset[int], Way] = {}
    for numbers in _sets(work, fits):
        if any(other <= set(numbers) for other in found) or (found and len(numbers) > 2):
            continue
        way = _together(work, [REMEDIES[i] for i in numbers], fits)
        if fits(way.estimate):
            found[frozenset(numbers)] = way
        if len(found) == WAYS:
            break
    return list(found.values())


def _sets(work: Work, fits: Fits) -> Iterator[tuple[int, ...]]:
    """Numbers of remedies to try together: each, each two, and the first three, four, and so on.

    No two are for the same key: of the first so many, the later one takes the place of the earlier.
    """
    keys: dict[int, str] = {}
    for i, remedy in enumerate(REMEDIES):
        if (change := remedy(work, fits)) is not None:
            keys[i] = change.setting.partition(":")[0]
    yield from ((i,) for i in keys)
    yield from ((i, j) for i, j in combinations(keys, 2) if keys[i] != keys[j])
    for count in range(3, len(keys) + 1):
        yield tuple(sorted({keys[i]: i for i in list(keys)[:count]}.values()))


def _together(work: Work, remedies: Sequence[Remedy], fits: Fits) -> Way:
    settings = []
    for remedy in remedies:
        change = remedy(work, fits)
        if change is not None:
            settings.append(change.setting)
            work = change.work
    return Way(tuple(settings), estimate(work))


def _captured(work: Work, **fields: Any) -> Work:
    """The work with these fields of `capture` in every run."""
    runs = (replace(run, capture=run.capture.model_copy(update=fields)) for run in work.runs)
    return replace(work, runs=tuple(runs))


def _kept(work: Work, key: str, value: Any, written: str) -> Change:
    """Another value of a key that runs have below `capture`, and datasets for themselves."""
    texts = tuple(replace(item, **{key: value}) for item in work.texts)
    prefix = "capture." if work.runs or any(item.new for item in work.texts) else ""
    changed = replace(_captured(work, **{key: value}), texts=texts)
    return Change(f"{prefix}{key}: {written}", changed)


def _device_map(work: Work, _: Fits) -> Change | None:
    if work.device != "cuda" or work.model.device_map is not None:
        return None
    model = work.model.model_copy(update={"device_map": "auto"})
    return Change("model.device_map: auto", replace(work, model=model))


def _runs_in_16_bits(work: Work, _: Fits) -> Change | None:
    if work.model.dtype != "float32" or work.files.quantized:
        return None
    model = work.model.model_copy(update={"dtype": "bfloat16"})
    return Change("model.dtype: bfloat16", replace(work, model=model))


def _stored_as_computed(work: Work, _: Fits) -> Change | None:
    own = work.model.dtype
    return _stored_in(work, own) if ITEM_BYTES[own] == 2 else None


def _stored_in_16_bits(work: Work, _: Fits) -> Change | None:
    return _stored_in(work, "bfloat16") if ITEM_BYTES[work.model.dtype] == 4 else None


def _stored_in(work: Work, dtype: str) -> Change | None:
    stored = [run.capture.store_dtype for run in work.runs]
    stored += [item.store_dtype or work.model.dtype for item in work.texts]
    return _kept(work, "store_dtype", dtype, dtype) if "float32" in stored else None


def _off(switch: str, off: Any = False) -> Remedy:
    """Leave out what a switch of `capture` keeps."""

    def remedy(work: Work, _: Fits) -> Change | None:
        if all(getattr(run.capture, switch) == off for run in work.runs):
            return None
        written = "null" if off is None else str(off).lower()
        return Change(f"capture.{switch}: {written}", _captured(work, **{switch: off}))

    return remedy


def _every(step: int) -> Remedy:
    """One layer in ``step`` of those that are kept, and the last of them."""

    def remedy(work: Work, _: Fits) -> Change | None:
        total = work.shape.layers if work.shape is not None else 0
        asked = [run.capture.layers for run in work.runs] + [item.layers for item in work.texts]
        now = sorted({layer for layers in asked for layer in chosen(layers, total)})
        fewer = tuple(sorted({*now[::step], *now[-1:]}))
        if len(fewer) >= len(now):
            return None
        return _kept(work, "layers", fewer, str(list(fewer)))

    return remedy


def _last_token(work: Work, _: Fits) -> Change | None:
    if all(item.pooled for item in work.texts):
        return None
    texts = tuple(replace(item, pooled=True) for item in work.texts)
    return Change("position: last", replace(work, texts=texts))


def _fewer_texts(work: Work, fits: Fits) -> Change | None:
    """As many texts as fit, in round numbers."""
    most = max((item.texts for item in work.texts if not item.new), default=0)
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        if fits(estimate(_with_texts(work, middle))):
            least = middle
        else:
            most = middle
    if not least:
        return None
    digits = 10 ** max(0, len(str(least)) - 2)
    count = least // digits * digits
    return Change(f"max_samples: {count}", _with_texts(work, count))


def _with_texts(work: Work, count: int) -> Work:
    return replace(work, texts=tuple(_sample(item, count) for item in work.texts))


def _sample(item: TextWork, count: int) -> TextWork:
    if item.new or count >= item.texts:
        return item
    return replace(
        item,
        texts=count,
        tokens=item.tokens * count // item.texts,
        text_bytes=item.text_bytes * count // item.texts,
    )


# In the order of what is lost by it, least first.
REMEDIES: tuple[Remedy, ...] = (
    _device_map,  # only time: weights without room on a GPU go to others, and to RAM
    _stored_as_computed,  # nothing: the model itself runs in 16 bits
    _off("attention_weights"),  # they follow from q and k
    _off("logits"),  # they follow from final_norm and the model's head
    _stored_in_16_bits,  # digits behind the third
    _runs_in_16_bits,  # the same, and everything computed from them
    _off("mlp"),  # the inside of the MLPs
    _every(2),  # half of the layers; neighbours are alike
    _off("qkv"),  # the inside of attention
    _every(4),  # three quarters
    _off("gradients", None),  # the gradients
    _last_token,  # of each text, all tokens but one
    _fewer_texts,  # texts
)
