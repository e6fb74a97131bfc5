"""What is computed from recorded tensors: rows of texts, statistics; padding never counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from stratascope.api.passes import token_axes
from stratascope.api.tables import Rows
from stratascope.errors import StratascopeError
from stratascope.measure.tensor_stats import TensorStats, block_stats, tensor_stats

if TYPE_CHECKING:
    import numpy.typing as npt


def stats(values: torch.Tensor | npt.ArrayLike, threshold: float = 0.0) -> TensorStats:
    """Statistics of a tensor or an array of any shape, as a dict.

    Its keys: shape, mean, std, min, max, norm (Euclidean), sparsity (share of ``|x| <= threshold``),
    entropy (of each row's magnitudes, in nats), kurtosis (excess), non_finite (a count). Each is defined
    in ``stratascope.measure.tensor_stats.tensor_stats``.
    """
    array = as_array(values) if isinstance(values, torch.Tensor) else values
    return tensor_stats(array, threshold)


def as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """A tensor as an array on the host; bfloat16 as float32, exactly."""
    host = tensor.detach().cpu()
    array: npt.NDArray[Any] = (host.float() if host.dtype == torch.bfloat16 else host).numpy()
    return array


def stats_rows(
    tensors: Mapping[str, torch.Tensor], mask: torch.Tensor | None, threshold: float
) -> Rows:
    """A row of statistics for each tensor, padding left out."""
    rows = Rows()
    for name, tensor in tensors.items():
        layer, site = place(name) or (None, None)
        found = block_stats(_blocks(name, tensor, mask), tuple(tensor.shape), threshold)
        rows.append({"name": name, "layer": layer, "site": site, **found})
    return rows


def place(name: str) -> tuple[int, str] | None:
    """Layer and site of a tensor named ``layer_NN/<site>``; none for any other."""
    layer, _, site = name.partition("/")
    number = layer.removeprefix("layer_")
    return (int(number), site) if site and number.isdigit() else None


def pool(
    tensors: Mapping[str, torch.Tensor], mask: torch.Tensor | None, position: str | int
) -> dict[str, torch.Tensor]:
    """One row a text of every tensor that has one row a token.

    Raises:
        StratascopeError: an unknown position, a token that a text does not have, or nothing to pool.
    """
    wanted = {name: t for name, t in tensors.items() if _has_token_rows(name, t, mask)}
    if mask is None or not wanted:
        raise StratascopeError("pooled: nothing here has one row a token of a known text")
    if position == "mean":
        return {name: _means(tensor, mask) for name, tensor in wanted.items()}
    if isinstance(position, str) and position != "last":
        raise StratascopeError(f"pooled: write 'last', 'mean' or a number (found {position!r})")
    at = _columns(mask, -1 if isinstance(position, str) else position)
    return {name: tensor[torch.arange(len(at)), at] for name, tensor in wanted.items()}


def _has_token_rows(name: str, tensor: torch.Tensor, mask: torch.Tensor | None) -> bool:
    plain = tensor.ndim > 2 and token_axes(name) == (1,)
    return plain and mask is not None and tensor.shape[:2] == mask.shape


def _means(tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    real = mask.to(tensor.device).reshape(*mask.shape, *[1] * (tensor.ndim - 2))
    return wide.masked_fill(~real, 0).sum(1) / real.sum(1)


def _columns(mask: torch.Tensor, index: int) -> torch.Tensor:
    """Where token ``index`` of each text stands, (texts,)."""
    columns = []
    for text, real in enumerate(mask):
        places = real.nonzero()[:, 0]
        if not -len(places) <= index < len(places):
            raise StratascopeError(
                f"pooled: text {text} has {len(places)} tokens, so none at {index}"
            )
        columns.append(places[index])
    return torch.stack(columns)


def _blocks(name: str, tensor: torch.Tensor, mask: torch.Tensor | None) -> list[npt.NDArray[Any]]:
    """The tensor of each text without its padding; the whole tensor where none is known."""
    axes = token_axes(name)
    known = mask is not None and (len(axes) == 2 or _has_token_rows(name, tensor, mask))
    if mask is None or not known or bool(mask.all()):
        return [as_array(tensor)]
    blocks = []
    for rows, real in zip(tensor, mask, strict=True):
        picked = real.nonzero()[:, 0].to(tensor.device)
        for axis in axes:
            rows = rows.index_select(axis - 1, picked)  # the axis of texts is gone
        blocks.append(as_array(rows))
    return blocks
