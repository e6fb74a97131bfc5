"""The end of a checkpoint, read from its files: what makes logits of the residual stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stratascope.errors import StratascopeError
from stratascope.measure.readout import Norm, Readout
from stratascope.store.traces import Trace
from stratascope.store.weights import Weights
from stratascope.study.readouts import Plan, plan_of

# What a token id stands for.
Text = Callable[[int], str]


@dataclass(frozen=True)
class End:
    """A checkpoint's last part and its heads' projections, each tensor read when it is needed."""

    plan: Plan
    weights: Weights

    @classmethod
    def of(cls, config: Mapping[str, Any], weights: Weights) -> End:
        """Raises StratascopeError for a model without a head, or whose way to logits is not known."""
        return cls(plan_of(config, weights.shown), weights)

    def check(self, trace: Trace) -> None:
        """Raise StratascopeError for a sequence that another model has read."""
        highest = trace.chosen_layers("all", "hidden_out")[-1]
        width = trace.at(highest, "hidden_out").shape[1]
        shape = self.plan.shape
        if width != shape.hidden or highest >= shape.layers:
            raise StratascopeError(
                f"{trace.label}: {highest + 1} layers of {width} numbers were recorded, and "
                f"{self.weights.shown} has {shape.layers} of {shape.hidden}: it is another model's"
            )

    @property
    def layers(self) -> int:
        """How many layers the model has."""
        return self.plan.shape.layers

    @cached_property
    def readout(self) -> Readout:
        """Final norm and head, for every token."""
        return self.readout_of(None)

    def readout_of(self, tokens: list[int] | None) -> Readout:
        """Final norm, and the rows of the head that belong to ``tokens``; all by default."""
        project = self.plan.ending.project
        return Readout(
            self._final_norm,
            self.weights.float32(self._head("weight") or self._tied, tokens),
            self.weights.float32(bias, tokens) if (bias := self._head("bias")) else None,
            self.weights.maybe(f"{project}.weight") if project else None,
            self.plan.cap,
        )

    def projection(self, layer: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Attention's output projection of a layer: (hidden, heads * width), and its bias."""
        ending = self.plan.ending
        name = f"{ending.layers}.{layer}.{ending.o}"
        weight = self.weights.float32(f"{name}.weight")
        return (weight.T if ending.inputs_first else weight), self.weights.maybe(f"{name}.bias")

    def post_norm(self, layer: int) -> Norm | None:
        """The norm on what attention adds to the stream; none in most architectures."""
        ending = self.plan.ending
        return self._norm(f"{ending.layers}.{layer}.{ending.post}") if ending.post else None

    def _head(self, part: str) -> str | None:
        """The head's own ``weight`` or ``bias`` as the files call it; none if it has no such."""
        if part == "weight" and self.plan.shape.tied:
            return None
        names = [f"{name}.{part}" for name in self.plan.ending.head]
        return next((name for name in names if self.weights.find(name)), None)

    @property
    def _tied(self) -> str:
        """The embedding's weight, where it is the head's, too; else the name that the files lack."""
        ending = self.plan.ending
        return f"{ending.embed if self.plan.shape.tied else ending.head[0]}.weight"

    @cached_property
    def _final_norm(self) -> Norm | None:
        return self._norm(self.plan.ending.norm) if self.plan.shape.final_norm else None

    def _norm(self, name: str) -> Norm:
        affine = self.plan.shape.norm_rows > 0
        return Norm(
            self.plan.ending.kind,
            self.plan.eps,
            self.weights.float32(f"{name}.weight") if affine else None,
            self.weights.maybe(f"{name}.bias"),
        )
