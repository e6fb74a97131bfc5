"""The one place that asks the hub what a branch or tag means today."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file
from stratascope.study.checkpoints import (
    COMMIT,
    LOCK,
    is_hub_id,
    local_folder,
    lock_key,
    read_lock,
    study_models,
)
from stratascope.study.config import read_scenario, read_scenarios, read_study, scenario_paths
from stratascope.study.schema import Model


def lock_models(root: Path, paths: Sequence[Path] = ()) -> dict[str, str]:
    """Pin the floating hub models of the study in ``root``, or of the scenarios in ``paths``.

    Writes ``config/lock.json`` in ``root`` and returns the commits found, by ``id@revision``. A
    study's lock is written anew; scenarios' models are added to it. Raises ``StratascopeError`` if
    the hub cannot be asked or does not know a model; the lock file is then left as it was.
    """
    models = _scenario_models(paths, root) if paths else _study_models(root)
    floating = {lock_key(model): model for model in models if _floats(model, root)}
    found = {key: _commit(floating[key]) for key in sorted(floating)}
    lock = (read_lock(root) if paths else {}) | found
    with new_file(root / LOCK) as partial:
        partial.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return found


def _study_models(root: Path) -> list[Model]:
    study = read_study(root)
    own = [file.scenario.model for file in read_scenarios(root, study)]
    return [*study_models(study).values(), *filter(None, own)]


def _scenario_models(paths: Sequence[Path], root: Path) -> list[Model]:
    files = [file for path in paths for file in scenario_paths(path, str(path))]
    return [m for file in files if (m := read_scenario(file, str(file), root).scenario.model)]


def _floats(model: Model, root: Path) -> bool:
    pinned = COMMIT.fullmatch(model.revision or "")
    return not pinned and local_folder(model, root) is None and is_hub_id(model)


def _commit(model: Model) -> str:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(model.id, revision=model.revision)
    except RevisionNotFoundError as error:
        raise StratascopeError(f"{model.id}: the hub knows no revision {model.revision}") from error
    except RepositoryNotFoundError as error:
        raise StratascopeError(
            f"{model.id}: neither a folder here nor a model on the hub (or it is private: log in with "
            "`hf auth login`)"
        ) from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StratascopeError(f"{model.id}: the hub cannot be asked: {reason}") from error
    if not info.sha:
        raise StratascopeError(f"{model.id}: the hub gave no commit")
    return info.sha
