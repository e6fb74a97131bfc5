"""``stratascope layers``: a model's module tree and where each site is read, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stratascope.capture.families import Family, family_of
from stratascope.capture.families.fused import Piece
from stratascope.capture.loading import load_skeleton
from stratascope.capture.modules import module_tree
from stratascope.capture.sites import LAYER_SITES, Site, family_sites
from stratascope.errors import StratascopeError
from stratascope.study.checkpoints import Checkpoint, is_hub_id, local_folder
from stratascope.study.schema import Model


def outline(model: Model, root: Path) -> tuple[str, list[dict[str, Any]]]:
    """The module tree as text, and a row for each site with the module it is read at.

    A hub model without a revision is looked at as it is today. The rows are empty for an
    architecture that has no table of sites: its modules are named by hand in ``capture.modules``.
    """
    folder = local_folder(model, root)
    if folder is None and not is_hub_id(model):
        raise StratascopeError(f"no model folder {model.id} (looked in {root.resolve()})")
    source = str(folder) if folder else model.id
    revision = None if folder else model.revision or "main"
    skeleton = load_skeleton(Checkpoint(model.id, model, source, revision, identity=""))
    family = family_of(skeleton.config)
    rows = [_row(site, family) for site in family_sites(family)] if family else []
    return module_tree(skeleton) + "\n", rows


def _row(site: Site, family: Family) -> dict[str, Any]:
    part = family.part(site.part)
    path = part.path if part else ""
    if site in LAYER_SITES:
        path = f"{family.layers}.N" + (f".{path}" if path else "")
    return {
        "site": site.name,
        "module": path or "(the model)",
        "read": site.where + (", cut" if part and isinstance(part.cut, Piece) else ""),
        "switch": f"capture.{site.switch}",
    }
