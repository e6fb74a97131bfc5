"""Forward passes: what each one recorded, and several of them as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812

from stratascope.errors import StratascopeError


@dataclass
class Pass:
    """The tensors of one forward pass by name, and what went in where that is known.

    ``ids`` and ``mask`` are (texts, tokens), the mask true where there is a token and no padding.
    ``continues``: the pass went on from the key-value cache of the one before it.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    ids: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    texts: tuple[str, ...] | None = None
    continues: bool = False


def token_axes(name: str) -> tuple[int, ...]:
    """Which axes of a tensor of that name count tokens: queries and keys, or the second one."""
    return (2, 3) if name.partition("#")[0].endswith("/attn_weights") else (1,)


def joined(passes: Sequence[Pass], name: str) -> torch.Tensor:
    """Tensor ``name`` of all passes as of one batch.

    Passes that continue a cache add tokens to their texts, every other pass adds texts. Texts
    shorter than the longest are padded on the right with zeros.

    Raises:
        StratascopeError: a tensor that some passes lack, or whose shapes do not go together.
    """
    without = sum(name not in item.tensors for item in passes)
    if without:
        raise StratascopeError(
            f"{name}: {len(passes) - without} of {len(passes)} passes recorded it; take them one by "
            "one, from `.passes`"
        )
    texts = [
        _longer(name, [item.tensors[name] for item in group], group) for group in _groups(passes)
    ]
    if len(texts) == 1:
        return texts[0]
    padded = all(item.mask is not None for item in passes)
    return _stacked(name, texts, padded)


def joined_inputs(passes: Sequence[Pass]) -> Pass:
    """``ids``, ``mask`` and ``texts`` of all passes as of one batch; none where one lacks them."""
    groups = _groups(passes)
    found = Pass(texts=_joined_texts(groups))
    if groups and all(item.ids is not None and item.mask is not None for item in passes):
        ids = [torch.cat([item.ids for item in g if item.ids is not None], 1) for g in groups]
        masks = [torch.cat([item.mask for item in g if item.mask is not None], 1) for g in groups]
        found.ids, found.mask = _stacked("ids", ids, True), _stacked("mask", masks, True)
    return found


def _joined_texts(groups: Sequence[Sequence[Pass]]) -> tuple[str, ...] | None:
    """The texts of all; none where one is not known, or has grown since it was given."""
    known = [group[0].texts for group in groups if len(group) == 1]
    if len(known) < len(groups) or any(texts is None for texts in known):
        return None
    return tuple(text for texts in known if texts is not None for text in texts)


def _groups(passes: Sequence[Pass]) -> list[list[Pass]]:
    """Each pass with those that continue it."""
    starts = [i for i, item in enumerate(passes) if i == 0 or not item.continues]
    return [list(passes[a:b]) for a, b in pairwise([*starts, len(passes)])]


def _longer(name: str, parts: list[torch.Tensor], group: list[Pass]) -> torch.Tensor:
    """The tensors of a pass and of those that continue it, one after the other along the tokens."""
    if len(parts) == 1:
        return parts[0]
    axes = token_axes(name)
    for part, item in zip(parts, group, strict=True):
        tokens = None if item.ids is None else item.ids.shape[1]
        if part.ndim <= axes[-1] or part.shape[axes[0]] != tokens:
            raise StratascopeError(
                f"{name}: shape {tuple(part.shape)} has not one row a token, so passes that continue "
                "one another cannot be joined; take them one by one, from `.passes`"
            )
    if len(axes) == 2:
        keys = max(part.shape[3] for part in parts)
        parts = [F.pad(part, (0, keys - part.shape[3])) for part in parts]
    return torch.cat(parts, axes[0])


def _stacked(name: str, parts: list[torch.Tensor], padded: bool) -> torch.Tensor:
    """Tensors one after the other along the first axis, padded with zeros on the right."""
    shapes = [tuple(part.shape[1:]) for part in parts]
    if len(set(shapes)) == 1:
        return parts[0] if len(parts) == 1 else torch.cat(parts)
    if not padded or len({len(shape) for shape in shapes}) != 1:
        found = " and ".join(str(tuple(part.shape)) for part in parts[:2])
        raise StratascopeError(
            f"{name}: passes of shapes {found} do not make one batch; take them one by one, from "
            "`.passes`"
        )
    most = [max(sizes) for sizes in zip(*shapes, strict=True)]
    return torch.cat([_padded(part, most) for part in parts])


def _padded(part: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """``part`` with zeros behind, up to ``sizes`` in all axes but the first."""
    missing = [size - own for size, own in zip(sizes, part.shape[1:], strict=True)]
    return F.pad(part, [pad for size in reversed(missing) for pad in (0, size)])
