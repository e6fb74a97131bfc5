"""The one place that asks the hub what a branch or tag means today."""

from __future__ import annotations

import json
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file
from stratascope.study.checkpoints import (
    COMMIT,
    LOCK,
    is_hub_id,
    local_folder,
    lock_key,
    study_models,
)
from stratascope.study.config import read_scenarios, read_study
from stratascope.study.schema import Model


def lock_study(root: Path) -> dict[str, str]:
    """Resolve every floating hub revision of a study and write ``config/lock.json``.

    Returns commit by ``id@revision``. Raises ``StratascopeError`` if the hub cannot be asked or does
    not know a model; the lock file is then left as it was.
    """
    study = read_study(root)
    models = list(study_models(study).values())
    models += [f.scenario.model for f in read_scenarios(root, study) if f.scenario.model]
    floating = {lock_key(model): model for model in models if _floats(model, root)}
    lock = {key: _commit(floating[key]) for key in sorted(floating)}
    with new_file(root / LOCK) as partial:
        partial.write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")
    return lock


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
