"""Artifacts that no scenario of the plan uses: which they are, how large, and taking them away.

Only what Stratascope made is ever taken: the name must be ``<name>-<digest>``, the content must be
the files of such an artifact and nothing else, and what it says of itself must agree with its name.
Everything else is left and named.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.store.commit import PARTIAL, disk_errors
from stratascope.store.features import INDEX, INFO, is_unfinished
from stratascope.store.layout import Layout
from stratascope.store.needed import NEURONS_ENDS, PROBES_ENDS, STATES_ENDS, files
from stratascope.store.questions import QUESTION_FILES
from stratascope.store.runs import GRADIENTS, REFERENCE_FILES, RUN_FILES, read_json
from stratascope.study.digest import LENGTH
from stratascope.study.plan import Plan
from stratascope.study.runs import reference_sets

# Where a folder waits for its files to be deleted: taken up again if that was interrupted.
PRUNED = ".pruned-"
HASH = re.compile("[0-9a-f]{64}")
NAME = re.compile(rf"(?P<name>[^/]+)-(?P<digest>[0-9a-f]{{{LENGTH}}})")


@dataclass(frozen=True)
class Leftover:
    """Something below results that the plan does not use.

    ``path`` is relative to the study; ``why`` says why it is left, and is empty for what may go.
    """

    path: Path
    size: int
    why: str

    @property
    def ours(self) -> bool:
        """Whether Stratascope made it, so that ``remove`` may take it."""
        return not self.why


def leftovers(plan: Plan, root: Path) -> list[Leftover]:
    """Everything in the folders of artifacts that the plan does not use, sorted by path."""
    layout = Layout.of_study()
    used = {layout.runs / run.folder for run in plan.runs}
    used |= {layout.references / item.folder for item in reference_sets(plan.runs)}
    used |= {layout.questions / item.folder for item in plan.questions}
    used |= {layout.features / item.folder for item in (*plan.feature_sets, *plan.neuron_sets)}
    used |= {layout.of_look(job).with_suffix("") for job in plan.looks if job.part == "heatmaps"}
    used |= set(files(plan))
    return [
        Leftover(path, _size(root / path), _why_left(root / path, kind))
        for folder, kind in _kinds(layout).items()
        for path in sorted(folder / entry.name for entry in _entries(root / folder))
        if path not in used
    ]


def remove(found: Iterable[Leftover], root: Path) -> list[Leftover]:
    """Take away what is ours; return what went. Folders are renamed first, so none is ever half gone.

    Raises ``StratascopeError`` while a Snakemake works on the study: it may need what was found.
    """
    _refuse_while_running(root)
    # Backwards: a checkpoint's tensors go before the index that tells whose they are.
    gone = sorted((item for item in found if item.ours), key=lambda item: item.path, reverse=True)
    for item in gone:
        path = root / item.path
        with disk_errors(path):
            if path.is_dir():
                aside = path.with_name(PRUNED + path.name.removeprefix(PRUNED))
                os.rename(path, aside)
                shutil.rmtree(aside)
            else:
                path.unlink()
    return gone[::-1]


# Whether an artifact, called `<name>-<digest>`, is what its name says.
Check = Callable[[Path, str, str], bool]


def _kinds(layout: Layout) -> dict[Path, Check]:
    return {
        layout.runs: _is_run,
        layout.references: _is_reference_set,
        layout.questions: _is_question_set,
        layout.features: _is_features,
        layout.captures: _is_manifest,
        layout.extractions: _is_manifest,
        layout.states: _is_states,
        layout.probes: _is_probes,
        layout.readings: _is_manifest,
        layout.transfer: _is_manifest,
        layout.similarity: _is_manifest,
        layout.lens: _is_manifest,
        layout.residual: _is_manifest,
        layout.attention: _is_manifest,
        layout.induction: _is_manifest,
        layout.cross_layer: _is_manifest,
        layout.trajectory: _is_manifest,
        layout.heatmaps: _is_heatmaps,
        layout.neurons: _is_neurons,
        layout.stamps: _is_stamp,
    }


def _why_left(path: Path, check: Check) -> str:
    if path.is_symlink():
        return "a link"
    if path.name.startswith(PRUNED):
        return ""
    if path.name.startswith(PARTIAL) or is_unfinished(path):
        return "unfinished: being captured, or left by a process that was killed"
    match = NAME.fullmatch(path.name if path.is_dir() else path.stem)
    try:
        ours = match is not None and check(path, match["name"], match["digest"])
    except (StratascopeError, KeyError, TypeError, AttributeError):
        ours = False  # whatever its content is, it is not that of an artifact
    return "" if ours else "not as Stratascope leaves it"


def _is_run(path: Path, name: str, digest: str) -> bool:
    whole = _holds(path, RUN_FILES) or _holds(path, (*RUN_FILES, GRADIENTS))
    return whole and _says(path / "run.json", label=name, digest=digest)


def _is_reference_set(path: Path, name: str, digest: str) -> bool:
    return _holds(path, REFERENCE_FILES) and _says(path / "references.json", digest=digest)


def _is_question_set(path: Path, name: str, digest: str) -> bool:
    shards = [file.name for file in path.glob("features-*.safetensors")]
    whole = _holds(path, (*QUESTION_FILES, *shards))
    return whole and _says(path / QUESTION_FILES[0], label=name, digest=digest)


def _is_features(path: Path, name: str, digest: str) -> bool:
    kinds = ("features-*.safetensors", "neurons-*.safetensors")
    shards = [file.name for kind in kinds for file in path.glob(kind)]
    return _holds(path, (INFO, INDEX, *shards)) and _says(path / INFO, label=name, digest=digest)


def _is_probes(path: Path, name: str, digest: str) -> bool:
    return path.suffix in PROBES_ENDS and _says(path.with_suffix(".json"), digest=digest)


def _is_neurons(path: Path, name: str, digest: str) -> bool:
    return path.suffix in NEURONS_ENDS and _says(path.with_suffix(".json"), digest=digest)


def _is_manifest(path: Path, name: str, digest: str) -> bool:
    return path.suffix == ".json" and _says(path, digest=digest)


def _is_heatmaps(path: Path, name: str, digest: str) -> bool:
    """The index, or the folder of pictures beside it."""
    if not path.is_dir():
        return _is_manifest(path, name, digest)
    return all(file.is_dir() or file.suffix == ".png" for file in path.rglob("*"))


def _is_states(path: Path, name: str, digest: str) -> bool:
    return path.suffix in STATES_ENDS and _says(path.with_suffix(".json"), checkpoint=name)


def _is_stamp(path: Path, name: str, digest: str) -> bool:
    hashes = read_json(path).values()
    return name in ("tables", "report") and all(HASH.fullmatch(text) for text in hashes)


def _holds(folder: Path, names: Sequence[str]) -> bool:
    return folder.is_dir() and {path.name for path in folder.iterdir()} == set(names)


def _says(path: Path, **fields: str) -> bool:
    content = read_json(path)
    return all(content[key] == value for key, value in fields.items())


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _size(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())


def _refuse_while_running(root: Path) -> None:
    if any((root / ".snakemake" / "locks").glob("*")):
        raise StratascopeError(
            f"{root / '.snakemake' / 'locks'}: snakemake is at work in this study; wait for it, or, if "
            "it was killed, run `snakemake --unlock`"
        )
