"""Which layer and site an array's name says, in the ways that people name them."""

from __future__ import annotations

import re

# The site of arrays whose names say a layer and nothing else.
UNNAMED = "features"
_WRAPPERS = {"model", "transformer", "gpt_neox", "base_model"}
_WORDS = {"layers", "layer", "blocks", "block", "h", "l"}
_NUMBERED = re.compile(r"(?:(?P<before>.*?)[_-]?)??(?P<number>\d+)(?:[_-](?P<after>\D.*))?")


def place_of(name: str) -> tuple[int | None, str]:
    """Layer and site: ``layers.15.mlp`` is ``(15, "mlp")``, ``layer_03`` ``(3, "features")``.

    The layer is the number that follows a word for layers, else the first number; the site is what
    is left of the name. Without a number it is all of the name, and the layer ``None``.
    """
    head, _, rest = name.partition("/")
    if head == "module":
        layer, site = place_of(rest)
        return layer, f"module/{rest if layer is None else site}"
    words = re.split(r"[/.]", name)
    numbered = [(i, match) for i, word in enumerate(words) if (match := _NUMBERED.fullmatch(word))]
    if not numbered:
        return None, name
    place, match = next((pair for pair in numbered if _follows_word(words, *pair)), numbered[0])
    leading = [word for word in words[:place] if word not in _WRAPPERS]
    if leading and not match["before"] and leading[-1].lower() in _WORDS:
        leading.pop()
    parts = [*leading, _without_word(match["before"] or ""), match["after"], *words[place + 1 :]]
    return int(match["number"]), ".".join(part for part in parts if part) or UNNAMED


def _follows_word(words: list[str], place: int, match: re.Match[str]) -> bool:
    before = match["before"] or (words[place - 1] if place else "")
    return before.rpartition("_")[2].lower() in _WORDS


def _without_word(before: str) -> str:
    """``resid_post_layer`` is ``resid_post``, and ``layer`` nothing."""
    kept, _, last = before.rpartition("_")
    return kept if last.lower() in _WORDS else before
