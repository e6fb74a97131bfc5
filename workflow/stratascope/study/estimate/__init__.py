"""What a job will take, by arithmetic on a model's config.json: memory, disk, operations."""

from __future__ import annotations

from stratascope.study.estimate.cost import Estimate, estimate
from stratascope.study.estimate.families import shape_of
from stratascope.study.estimate.shape import Shape
from stratascope.study.estimate.work import Files, Work

__all__ = ["Estimate", "Files", "Shape", "Work", "estimate", "shape_of"]
