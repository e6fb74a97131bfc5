"""What a study looks at under the microscope: parts of stored runs, each only where it is asked for."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from stratascope.errors import StratascopeError
from stratascope.study.names import nearest
from stratascope.study.strict import Strict

Numbers = Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...]
# What the final norm and the head can read.
StreamSite = Literal["hidden_in", "attn_out", "mlp_down_out", "hidden_out"]
# `layer:index`, as the command line names a neuron, too.
NEURON = re.compile(r"(\d+):(\d+)")


def neuron_of(name: str) -> tuple[int, int]:
    """Layer and index of a neuron such as ``2:17``. Raises StratascopeError for another form."""
    found = NEURON.fullmatch(name)
    if found is None:
        raise StratascopeError(f"{name!r} is no neuron; write layer:index, such as 2:17")
    return int(found[1]), int(found[2])


class OfScenarios(Strict):
    """Which runs."""

    scenarios: Literal["all"] | tuple[str, ...] = Field(
        default="all", description="Scenarios by name, whose runs are looked at."
    )

    @field_validator("scenarios", "layers", "steps", check_fields=False)
    @classmethod
    def _some(cls, value: str | tuple[str | int, ...]) -> str | tuple[str | int, ...]:
        if not value:
            raise ValueError("an empty list looks at nothing: name some, or write `all`")
        return value if isinstance(value, str) else tuple(dict.fromkeys(value))


class OfLayers(OfScenarios):
    """And which of their layers."""

    layers: Numbers = Field(default="all", description="Layer numbers, from 0.")


class OfSteps(OfLayers):
    """And which of their forward passes."""

    steps: Numbers = Field(
        default="all", description="Forward passes: 0 reads the prompt, each further one a token."
    )


class OfTokens(OfSteps):
    """And at which tokens of these."""

    positions: Literal["last", "all"] = Field(
        default="last", description="The last token of each pass, which chooses the next, or all."
    )


class Lens(OfTokens):
    """What the model would say after each layer."""

    sites: Annotated[tuple[StreamSite, ...], Field(min_length=1)] = Field(
        default=("hidden_out",), description="What is read: the stream, or a contribution to it."
    )
    top_k: int = Field(default=5, ge=1, description="How many of the likeliest tokens are kept.")


class Residual(OfTokens):
    """What each layer adds to the residual stream."""


class Attention(OfLayers):
    """Where each head looks: entropy, distance, first and previous token."""


class Induction(Strict):
    """Which heads copy by induction, or look at the previous token, on repeated random tokens."""

    layers: Numbers = Field(default="all", description="Layer numbers, from 0.")
    sequences: int = Field(default=32, ge=2, description="Sequences of random tokens.")
    length: int = Field(default=25, ge=2, description="Tokens of each, which come twice.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the random tokens.")


class CrossLayer(OfLayers):
    """How alike the layers of a run are, token by token."""

    site: str = Field(default="hidden_out", description="The site that is compared.")


class Trajectory(OfScenarios):
    """What single neurons do, token by token."""

    neurons: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Neurons as `layer:index`, such as `2:17`."
    )
    site: str = Field(default="mlp_act", description="Where the neurons are.")

    @field_validator("neurons")
    @classmethod
    def _neurons(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not NEURON.fullmatch(name):
                raise ValueError(f"{name!r} is no neuron; write layer:index, such as 2:17")
        return tuple(dict.fromkeys(value))


class Heatmaps(OfSteps):
    """Pictures of tensors, a pixel a number."""

    sources: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=("hidden_out",), description="Sites to draw."
    )
    per_head: bool = Field(default=False, description="One picture a head, not one a layer.")
    normalize: Literal["none", "per_image", "signed", "global"] = "per_image"
    reduce: Literal["signed", "abs"] = Field(
        default="signed", description="`abs` draws magnitudes."
    )
    cmap: str = Field(default="viridis", description="A colour map of Matplotlib.")


class Microscope(Strict):
    """Each part is made where the study names it."""

    lens: Lens | None = None
    residual: Residual | None = None
    attention: Attention | None = None
    induction: Induction | None = None
    cross_layer: CrossLayer | None = None
    trajectory: Trajectory | None = None
    heatmaps: Heatmaps | None = None

    def check_scenarios(self, known: tuple[str, ...]) -> None:
        """Raise ValueError for a scenario that the study has not, with the nearest."""
        for key in type(self).model_fields:
            wanted = getattr(getattr(self, key), "scenarios", "all")
            for name in () if wanted == "all" else wanted:
                if name not in known:
                    near = nearest(name, known)
                    there = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
                    raise ValueError(f"microscope.{key}.scenarios: no scenario {name!r}; {there}")
