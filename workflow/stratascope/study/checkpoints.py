"""Checkpoints: where a model's files are, what pins them, and what to call them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.study.digest import digest
from stratascope.study.schema import CheckpointEntry, Model, Study
from stratascope.study.validate import validate

LOCK = "config/lock.json"
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

Identify = Callable[[Path], str]


@dataclass(frozen=True)
class Checkpoint:
    """A model at one revision.

    ``source`` is what ``from_pretrained`` is given: an absolute folder, or a hub id together with
    the commit in ``revision``. ``identity`` changes exactly when the files do.
    """

    name: str
    model: Model
    source: str
    revision: str | None
    identity: str

    @property
    def is_local(self) -> bool:
        """Whether the files lie in a folder here."""
        return self.revision is None

    def runtime(self) -> dict[str, object]:
        """What, beside the files, determines the numbers that the model computes."""
        return self.model.model_dump(mode="json", exclude={"id", "revision"}) | {
            "identity": self.identity
        }


def read_lock(root: Path) -> dict[str, str]:
    """The commits that ``stratascope lock`` recorded, by ``id@revision``; empty without a file."""
    path = root / LOCK
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StratascopeError(f"{LOCK}: not valid JSON; run `stratascope lock` again") from error
    if not isinstance(data, dict) or not all(
        isinstance(value, str) and COMMIT.fullmatch(value) for value in data.values()
    ):
        raise StratascopeError(
            f"{LOCK}: must map `id@revision` to a commit of 40 hex digits; run `stratascope lock` again"
        )
    return data


def lock_key(model: Model) -> str:
    """What the lock file calls a hub model at a branch or tag."""
    return f"{model.id}@{model.revision or 'main'}"


def local_folder(model: Model, root: Path) -> Path | None:
    """The model's folder, if its id names one (relative to the study folder)."""
    folder = root / Path(model.id).expanduser()
    return folder.resolve() if folder.is_dir() else None


def is_hub_id(model: Model) -> bool:
    """Whether the id could be one of the hub, ``name`` or ``owner/name``."""
    return HUB_ID.fullmatch(model.id) is not None


def resolve(
    name: str, model: Model, root: Path, lock: Mapping[str, str], identify: Identify, shown: str
) -> Checkpoint:
    """Find a model's files and their identity; nothing is asked of the network.

    ``shown`` says in errors where the model was named. Raises ``StratascopeError`` for a folder that
    is not there, a revision on a local folder, and a hub model that nothing pins.
    """
    folder = local_folder(model, root)
    if folder is not None:
        if model.revision is not None:
            raise StratascopeError(
                f"{shown}: {model.id} is a local folder, which has no revision; leave `revision` out"
            )
        return Checkpoint(name, model, str(folder), None, identify(folder))
    if not is_hub_id(model):
        raise StratascopeError(f"{shown}: no model folder {model.id} (looked in {root.resolve()})")
    commit = model.revision or ""
    if not COMMIT.fullmatch(commit):
        commit = lock.get(lock_key(model), "")
    if not commit:
        raise StratascopeError(
            f"{shown}: no model folder {model.id} in {root.resolve()}, and as a hub model "
            f"{lock_key(model)} is not pinned; run `stratascope lock`, or give a commit as `revision`"
        )
    return Checkpoint(name, model, model.id, commit, f"hub:{model.id}@{commit}")


def study_models(study: Study) -> dict[str, Model]:
    """The study's checkpoints as full models: the defaults, then what each entry says."""
    under = study.defaults.get("model")
    base = dict(under) if isinstance(under, dict) else {}
    base.pop("id", None)
    base.pop("revision", None)
    return {name: _model(name, base, entry) for name, entry in study.checkpoints.items()}


def _model(name: str, base: Mapping[str, object], entry: CheckpointEntry) -> Model:
    own = {key: value for key, value in entry.model_dump().items() if value is not None}
    return validate(Model, {**base, **own}, "config/config.yaml", f"checkpoints.{name}.")


def names_for(models: Iterable[Model]) -> dict[Model, str]:
    """Names for models that scenarios bring themselves: the id's last part, longer where two meet."""
    distinct = list(dict.fromkeys(models))
    names = {model: _last_part(model) for model in distinct}
    for model in distinct:
        same = [other for other in distinct if _last_part(other) == _last_part(model)]
        if len(same) > 1:
            names[model] = f"{_last_part(model)}-{digest(model.model_dump(mode='json'))[:6]}"
    return names


def _last_part(model: Model) -> str:
    last = re.sub(r"[^A-Za-z0-9._-]+", "-", model.id.rstrip("/").rsplit("/", 1)[-1]).strip("-._")
    name = last or "model"
    if model.revision:
        revision = model.revision[:8] if COMMIT.fullmatch(model.revision) else model.revision
        name += "-" + re.sub(r"[^A-Za-z0-9._-]+", "-", revision)
    return name[:60]
