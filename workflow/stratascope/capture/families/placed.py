"""Where a model in memory keeps its parts, however it was loaded."""

from __future__ import annotations

from dataclasses import replace

from transformers import PreTrainedModel

from stratascope.capture.families import family_of
from stratascope.capture.families.family import Family, Part, Place


def family_at(model: PreTrainedModel) -> Family | None:
    """Where this very model keeps its parts; none where the table of families lacks its architecture.

    The table has decoders with their head and encoders without one. Loaded in another way, a model's
    backbone may lie one level up or down, and its head may be missing.
    """
    family = family_of(model.config)
    if family is None:
        return None
    known = {path for path, _ in model.named_modules()}
    prefix = f"{model.base_model_prefix}."

    def moved(place: Place) -> Place:
        if isinstance(place, Part):
            return replace(place, path=str(moved(place.path)))
        if place is None or place in known:
            return place
        return place.removeprefix(prefix) if place.startswith(prefix) else prefix + place

    head = family.part("head")
    return replace(
        family,
        layers=str(moved(family.layers)),
        embed=moved(family.embed),
        norm=moved(family.norm),
        head=family.head if head is not None and head.path in known else None,
    )
