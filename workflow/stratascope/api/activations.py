"""What a notebook holds after a forward pass: named tensors that know their texts and tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from stratascope.api.passes import Pass, joined, joined_inputs
from stratascope.api.summaries import as_array, place, pool, stats_rows
from stratascope.api.tables import Rows
from stratascope.errors import StratascopeError
from stratascope.measure import metrics
from stratascope.study.names import nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The text of each of some token ids, and of all of them together.
Show = Callable[[Sequence[int]], list[str]]
Decode = Callable[[Sequence[int]], str]


class UnknownNameError(StratascopeError, KeyError):
    """No tensor of that name; also a ``KeyError``, as mappings raise."""

    __str__ = Exception.__str__


class Activations(Mapping[str, torch.Tensor]):
    """Tensors by name, such as ``layer_03/hidden_out``, of shape (texts, tokens, width).

    The first axis counts texts, always: a single text has 1. Texts shorter than the longest are padded
    on the right; ``mask`` says where, and what is computed here leaves that out.
    ``layer_NN/attn_weights`` are (texts, heads, tokens, tokens). A module recorded by its own name keeps
    the shape that it gave. Where a module ran more than once in a pass, as shared ones do, its further
    tensors are ``NAME#2``, ``NAME#3``.

    Several passes read as one batch: their texts in order, zeros where one is shorter. Passes that go on
    from a key-value cache, as in generation, add tokens to the texts of the pass before. ``passes`` has
    each pass by itself.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        model: str = "",
        show: Show | None = None,
        decode: Decode | None = None,
    ) -> None:
        self.model = model
        self._passes = passes
        self._show = show
        self._decode = decode
        # Joined tensors, and of how many passes; the block may still be open.
        self._joined: dict[str, torch.Tensor] = {}
        self._of = 0

    # As a mapping

    def __getitem__(self, key: str | tuple[str, int]) -> torch.Tensor:
        """By name, ``acts["layer_03/hidden_out"]``, or by site and layer, ``acts["hidden_out", 3]``.

        Negative layers count from the last one recorded.
        """
        name = key if isinstance(key, str) else self._name(*key)
        if name not in self:
            raise self._unknown(name)
        if self._of != len(self._passes):
            self._of, self._joined = len(self._passes), {}
        if name not in self._joined:
            self._joined[name] = joined(self._passes, name)
        return self._joined[name]

    def __contains__(self, name: object) -> bool:
        return any(name in item.tensors for item in self._passes)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for item in self._passes for name in item.tensors))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _layers_of(self, site: str) -> dict[int, str]:
        """The tensor names of a site by their layers, ascending."""
        found = [(where, name) for name in self if (where := place(name)) and where[1] == site]
        return {layer: name for (layer, _), name in sorted(found)}

    def _name(self, site: str, layer: int) -> str:
        names = self._layers_of(site)
        numbers = list(names)
        if -len(numbers) <= layer < 0:
            layer = numbers[layer]
        return names.get(layer, f"layer_{layer:02d}/{site}")

    def _unknown(self, name: str) -> UnknownNameError:
        if not self._passes:
            return UnknownNameError(
                f"{name}: no forward pass happened in the block; call the model in it"
            )
        layers = list(self._layers_of(name))
        if layers:
            return UnknownNameError(
                f"{name} is a site of layers {', '.join(map(str, layers))}: write "
                f"acts[{name!r}, {layers[0]}], or acts.stack({name!r}) for all of them"
            )
        near = nearest(name, self)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(list(self)[:8])}"
        return UnknownNameError(f"no tensor {name!r} was recorded; {hint}")

    # What is there

    @property
    def passes(self) -> tuple[Activations, ...]:
        """Each forward pass by itself, in order."""
        return tuple(
            Activations([item], self.model, self._show, self._decode) for item in self._passes
        )

    @property
    def layers(self) -> list[int]:
        """The layers that were recorded, ascending."""
        return sorted({where[0] for name in self if (where := place(name))})

    @property
    def sites(self) -> list[str]:
        """The sites of layers that were recorded, in the order of a layer's work."""
        return list(dict.fromkeys(where[1] for name in self if (where := place(name))))

    @property
    def ids(self) -> torch.Tensor | None:
        """Token ids, (texts, tokens), padding included; none where they are not known."""
        return joined_inputs(self._passes).ids

    @property
    def mask(self) -> torch.Tensor | None:
        """True for tokens and false for padding, (texts, tokens); none where it is not known."""
        return joined_inputs(self._passes).mask

    @property
    def tokens(self) -> list[list[str]]:
        """The text of each token of each text, padding left out."""
        ids = self._token_ids()
        if self._show is None:
            raise _not_known("the tokens' texts are")
        return [self._show(text) for text in ids]

    @property
    def texts(self) -> list[str]:
        """The texts as the model read them."""
        known = joined_inputs(self._passes).texts
        if known is not None:
            return list(known)
        ids = self._token_ids()
        if self._decode is None:
            raise _not_known("the texts are")
        return [self._decode(text) for text in ids]

    def _token_ids(self) -> list[list[int]]:
        inputs = joined_inputs(self._passes)
        if inputs.ids is None or inputs.mask is None:
            raise _not_known("the tokens are")
        return [row[real].tolist() for row, real in zip(inputs.ids, inputs.mask, strict=True)]

    # What can be done with it

    def stack(self, site: str) -> torch.Tensor:
        """A site of all recorded layers in one tensor, (layers, texts, tokens, width)."""
        names = self._layers_of(site)
        if not names:
            raise self._unknown(site)
        return torch.stack([self[name] for name in names.values()])

    def pooled(self, position: Literal["last", "mean"] | int) -> Activations:
        """One row a text, (texts, width): its last token, the mean of its tokens, or one of them.

        An index counts the text's own tokens, from the end if it is negative. Tensors that have not one
        row a token, attention weights among them, are left out. A mean is float32 or wider.

        Raises:
            StratascopeError: an index that a text does not reach, or nothing to pool.
        """
        inputs = joined_inputs(self._passes)
        rows = pool(self, inputs.mask, position)
        return Activations([Pass(rows, texts=inputs.texts)], self.model)

    def numpy(self) -> dict[str, NDArray[Any]]:
        """The tensors as arrays; bfloat16, which NumPy lacks, as float32, exactly."""
        return {name: as_array(tensor) for name, tensor in self.items()}

    def stats(self, threshold: float = 0.0) -> Rows:
        """Statistics of each tensor without its padding, a row each: ``pandas.DataFrame(acts.stats())``.

        Columns: name, layer, site, then those of ``ss.stats``.
        """
        return stats_rows(self, self.mask, threshold)

    def cosine(self, other: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float64]]:
        """Cosine similarity of the vectors (last axis) of tensors with the same name in both.

        Raises:
            StratascopeError: shapes that differ (pool texts of different lengths first), or no name in
                common.
        """
        names = [name for name in self if name in other]
        if not names:
            raise StratascopeError("cosine: the two have no tensor of the same name")
        for name in names:
            if self[name].shape != other[name].shape:
                raise StratascopeError(
                    f"cosine: {name} has shapes {tuple(self[name].shape)} and "
                    f"{tuple(other[name].shape)}; pool both first, as in acts.pooled('last')"
                )
        return {name: metrics.cosine(as_array(self[name]), as_array(other[name])) for name in names}

    def save(self, path: str | Path) -> Path:
        """Save everything: ``.safetensors`` (exact, bfloat16 too) or ``.npz``. Returns the path.

        ``ss.load_activations`` reads both, with texts, tokens and mask.
        """
        from stratascope.api.files import save

        return save(self, Path(path))

    # How it shows itself

    def _listed(self) -> Rows:
        return Rows({"tensor": name, **self._outline(name)} for name in self)

    def _outline(self, name: str) -> dict[str, str]:
        try:
            tensor = self[name]
        except StratascopeError:  # passes that do not make one batch
            found = sum(name in item.tensors for item in self._passes)
            return {"shape": f"{found} passes apart", "dtype": ""}
        shape = " x ".join(map(str, tensor.shape))
        return {"shape": shape, "dtype": str(tensor.dtype).removeprefix("torch.")}

    def __repr__(self) -> str:
        return repr(self._listed()) if self._passes else "no forward pass was recorded"

    def _repr_html_(self) -> str:
        return self._listed()._repr_html_()


def _not_known(what: str) -> StratascopeError:
    return StratascopeError(
        f"{what} not known: the model was called without token ids, or it has no tokenizer; give one with "
        "`ss.wrap(model, tokenizer)`"
    )
