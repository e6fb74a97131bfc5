"""The states files of a study, read one (layer, source) slice at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
from safetensors import SafetensorError, safe_open

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray
from stratascope.store.questions import QuestionFolder
from stratascope.store.runs import tensor_name

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One run and where its states lie; ``place`` is its row in ``initial`` and ``final``.

    ``told`` says for each message which reference it is known to tell; empty if none is labelled.
    """

    label: str
    scenario: str
    conversation: str
    generated: str
    prompt_key: Hashable
    place: int
    reference_set: int | None
    told: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The state after one message of one run; ``prefix`` is the same for the same text so far."""

    run: Run
    row: int
    message: int
    role: str
    prefix: str

    @property
    def label(self) -> str | None:
        """The reference that the message is known to tell."""
        return self.run.told[self.message] if self.run.told else None


@dataclass(frozen=True)
class ReferenceSet:
    """Labelled references; row ``first + i`` is the state of ``labels[i]``."""

    labels: tuple[str, ...]
    first: int

    @property
    def rows(self) -> slice:
        """The set's rows in ``reference`` slices."""
        return slice(self.first, self.first + len(self.labels))


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One checkpoint's runs (by label), snapshots (by run, then message) and state vectors.

    ``positions`` begin with ``generation_prompt`` where it was captured.
    """

    name: str
    order: int
    hidden_size: int
    layers: tuple[int, ...]
    sources: tuple[str, ...]
    positions: tuple[str, ...]
    runs: tuple[Run, ...]
    snapshots: tuple[Snapshot, ...]
    reference_sets: tuple[ReferenceSet, ...]
    path: Path
    tensors: Any
    names: frozenset[str]
    memory: dict[Hashable, object] = field(default_factory=dict)

    @property
    def first_position(self) -> str | None:
        """The position that run-level statistics use."""
        return self.positions[0] if self.positions else None

    def run_states(self, which: str, source: str, layer: int) -> FloatArray:
        """``initial`` or ``final`` states ``(runs, H)`` in the order of ``runs``."""
        rows = [run.place for run in self.runs]
        return self._read(f"{which}/{tensor_name(layer, source)}", len(rows), rows)

    def snapshot_states(
        self, position: str, source: str, layer: int, places: Sequence[int] | None = None
    ) -> FloatArray:
        """States ``(n, H)`` of all ``snapshots``, or of those at ``places`` among them."""
        chosen = self.snapshots if places is None else [self.snapshots[i] for i in places]
        rows = [snapshot.row for snapshot in chosen]
        name = f"snapshot/{position}/{tensor_name(layer, source)}"
        return self._read(name, len(self.snapshots), rows)

    def reference_states(self, position: str, source: str, layer: int) -> FloatArray:
        """Reference states ``(references of all sets, H)``."""
        count = sum(len(item.labels) for item in self.reference_sets)
        name = f"reference/{position}/{tensor_name(layer, source)}"
        return self._read(name, count, range(count))

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The result of ``compute``, kept under ``key`` because several tables ask for it."""
        if key not in self.memory:
            self.memory[key] = compute()
        return cast(T, self.memory[key])

    def _read(self, name: str, total: int, rows: Sequence[int]) -> FloatArray:
        """Some rows in float64. What no run captured is not in the file: rows of NaN."""
        if name not in self.names or not rows:
            return np.full((len(rows), self.hidden_size), np.nan)
        tensor = self.tensors.get_slice(name)
        shape, expected = tuple(tensor.get_shape()), (total, self.hidden_size)
        if shape != expected:
            raise StratascopeError(
                f"{self.path}: {name} has shape {shape}, its index says {expected}; "
                "extract the states again"
            )
        first = min(rows)
        window = tensor[first : max(rows) + 1].astype(np.float64)
        states: FloatArray = window[np.asarray(rows) - first]
        return states


@dataclass(frozen=True)
class Analyses:
    """The indices (``.json``) of what was computed from features and runs, in the study's order."""

    probes: tuple[Path, ...] = ()
    transfers: tuple[Path, ...] = ()
    similarities: tuple[Path, ...] = ()
    neurons: tuple[Path, ...] = ()
    lenses: tuple[Path, ...] = ()
    residuals: tuple[Path, ...] = ()
    attention: tuple[Path, ...] = ()
    inductions: tuple[Path, ...] = ()
    cross_layers: tuple[Path, ...] = ()
    trajectories: tuple[Path, ...] = ()


NO_ANALYSES = Analyses()

# By run label: which reference each of the run's messages is known to tell.
Told = Mapping[str, Sequence[str | None]]
NOTHING_TOLD: Told = MappingProxyType({})


@dataclass(frozen=True)
class Study:
    """All checkpoints of a study, in the study's order, and what else the tables are made from."""

    checkpoints: tuple[Checkpoint, ...]
    questions: tuple[QuestionFolder, ...] = ()
    analyses: Analyses = NO_ANALYSES

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source that a checkpoint names, in the order of first naming."""
        return tuple(dict.fromkeys(s for item in self.checkpoints for s in item.sources))


@contextmanager
def open_study(
    states: Sequence[Path],
    questions: Sequence[QuestionFolder] = (),
    analyses: Analyses = NO_ANALYSES,
    told: Told = NOTHING_TOLD,
) -> Iterator[Study]:
    """Open the states of each checkpoint, given the paths of their ``.json`` files.

    ``told`` says by run label which reference each of the run's messages is known to tell.
    Raises StratascopeError naming the file that is missing, damaged or of another format.
    """
    with ExitStack() as stack:
        checkpoints = sorted(
            (_open(Path(path), stack, told) for path in states),
            key=lambda item: (item.order, item.name),
        )
        names = [item.name for item in checkpoints]
        for name in names:
            if names.count(name) > 1:
                raise StratascopeError(f"two states files are of checkpoint {name!r}; give one")
        yield Study(tuple(checkpoints), tuple(questions), analyses)


def _open(path: Path, stack: ExitStack, told: Told) -> Checkpoint:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        tensors = stack.enter_context(
            safe_open(str(path.with_suffix(".safetensors")), framework="numpy")
        )
        return _checkpoint(index, path, tensors, told)
    except FileNotFoundError as error:
        raise StratascopeError(f"{path}: not there, or its .safetensors file is not") from error
    except (json.JSONDecodeError, SafetensorError) as error:
        raise StratascopeError(f"{path}: damaged ({error}); extract the states again") from error
    except (KeyError, TypeError) as error:
        raise StratascopeError(
            f"{path}: not an index of states ({type(error).__name__}: {error}); "
            "extract the states again"
        ) from error


def _checkpoint(index: Mapping[str, Any], path: Path, tensors: Any, told: Told) -> Checkpoint:
    runs: list[Run] = []
    snapshots: list[Snapshot] = []
    entries = sorted(enumerate(index["runs"]), key=lambda item: item[1]["label"])
    for place, entry in entries:
        messages = entry["messages"]
        run = Run(
            label=entry["label"],
            scenario=entry["scenario"],
            conversation=entry["parent"],
            generated=entry["generated"],
            prompt_key=messages[-1]["prefix"] if messages else ("run", entry["label"]),
            place=place,
            reference_set=entry["reference_set"],
            told=tuple(told.get(entry["label"], ())),
        )
        runs.append(run)
        snapshots += [
            Snapshot(run, entry["rows"][0] + i, item["index"], item["role"], item["prefix"])
            for i, item in enumerate(messages)
        ]
    return Checkpoint(
        name=index["checkpoint"],
        order=index["order"],
        hidden_size=index["hidden_size"],
        layers=tuple(index["layers"]),
        sources=tuple(index["sources"]),
        positions=tuple(sorted(index["positions"], key=lambda name: name != "generation_prompt")),
        runs=tuple(runs),
        snapshots=tuple(snapshots),
        reference_sets=tuple(
            ReferenceSet(tuple(item["labels"]), item["rows"][0]) for item in index["reference_sets"]
        ),
        path=path,
        tensors=tensors,
        names=frozenset(tensors.keys()),
    )
