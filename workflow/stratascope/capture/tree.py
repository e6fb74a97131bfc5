"""What ``stratascope layers`` shows of a model, without loading its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stratascope.capture.families import FAMILIES
from stratascope.capture.loading import load_skeleton
from stratascope.capture.modules import module_tree
from stratascope.capture.sites import LAYER_SITES, SITES
from stratascope.study.checkpoints import Checkpoint, local_folder
from stratascope.study.schema import Model


def _checkpoint(spec: Mapping[str, Any], directory: Path) -> Checkpoint:
    model = Model(**spec)
    folder = local_folder(model, directory)
    if folder is not None:
        return Checkpoint(model.id, model, str(folder), None, "")
    return Checkpoint(model.id, model, model.id, model.revision or "main", "")


def tree_of(spec: Mapping[str, Any], directory: Path) -> str:
    """The module tree of a model; ``spec`` holds fields of ``Model``.

    Raises:
        StratascopeError: no such model, or one that transformers does not know.
    """
    return module_tree(load_skeleton(_checkpoint(spec, directory)))


def site_rows(spec: Mapping[str, Any], directory: Path) -> list[dict[str, str]]:
    """Where each site is read: site, capture switch, module, what of it.

    Empty for an architecture without an entry in the table of families.

    Raises:
        StratascopeError: as ``tree_of``.
    """
    family = FAMILIES.get(load_skeleton(_checkpoint(spec, directory)).config.model_type)
    if family is None:
        return []
    rows = []
    for site in SITES:
        path = getattr(family, site.part) if site.part else ""
        if site in LAYER_SITES:
            path = f"{family.layers}.N" + (f".{path}" if path else "")
        rows.append({"site": site.name, "switch": site.switch, "module": path, "reads": site.where})
    return rows
