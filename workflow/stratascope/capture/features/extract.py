"""From a dataset to features: a shard at a time, each whole or not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stratascope.capture.features import noise
from stratascope.capture.features.batches import (
    Selection,
    make_inputs,
    plan_batches,
    rotary_border,
)
from stratascope.capture.features.budget import is_out_of_memory, lowered, token_budget
from stratascope.capture.features.compiled import compiled_layers
from stratascope.capture.features.finish import finish_features
from stratascope.capture.features.reader import Reader, reading
from stratascope.capture.features.shards import (
    Shard,
    Start,
    begin,
    check_folder,
    dealt,
    index_table,
    save_start,
    shards_of,
    write_record,
)
from stratascope.capture.features.taps import feature_taps
from stratascope.capture.features.texts import MEANS, Text, read_texts
from stratascope.capture.features.writing import FeatureWriter, find_places
from stratascope.capture.loading import Loaded, set_threads
from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file
from stratascope.store.datasets.rows import BadRow, Source
from stratascope.store.features import COLUMNS, Features, is_features
from stratascope.store.hashes import sha256
from stratascope.store.tensorread import TensorReader
from stratascope.store.tensors import DTYPES, TensorFile, TensorSpec
from stratascope.study.dataset import Dataset
from stratascope.study.features import FeatureSet

Say = Callable[[str], None]

# How many bad rows an error lists.
LISTED = 10


def extract_features(
    loaded: Loaded,
    features: FeatureSet,
    source: Source,
    folder: Path,
    say: Say,
    *,
    part: tuple[int, int] = (1, 1),
    compile: bool = False,  # noqa: A002 (as PyTorch calls it)
) -> None:
    """Extract the features of ``source`` into ``folder``, or what of them is not there yet.

    ``part`` (i, k) makes the i-th of k ranges of shards, i from 1; whoever finds all shards there
    writes the index and run.json. Killed at any moment, the same call goes on at the last whole
    shard and ends in the same bytes. ``compile``: layers run through ``torch.compile``.

    Raises:
        StratascopeError: sites, layers or modules that the model has not, a folder with other
            features, bad rows (unless they are skipped), values that are not finite, a text that
            does not fit into memory, a full disk.
    """
    dataset = features.dataset
    _check_fields(dataset)
    taps = feature_taps(loaded, dataset)
    check_folder(folder, features.digest)
    if _is_whole(folder):
        say(f"{features.label}: already there")
        return
    shards = shards_of(source.count(), dataset.shard_texts)
    if not shards:
        raise StratascopeError(f"{features.label}: the dataset has no texts")
    missing = [shard for shard in dealt(shards, part) if not shard.is_done(folder)]
    if missing:
        if dataset.on_bad_row == "error":
            _refuse([row for row in _rows(source, missing) if isinstance(row, BadRow)], features)
        with ExitStack() as stack:
            stack.enter_context(_threads(features.threads))
            if compile:
                stack.enter_context(compiled_layers(loaded))
            reader = stack.enter_context(reading(loaded, taps))
            _Extraction(loaded, features, folder, reader, say).write(source, missing, len(shards))
    there = sum(shard.is_done(folder) for shard in shards)
    if there == len(shards):
        finish_features(loaded, features, folder, shards)
    else:
        say(f"{features.label}: {there} of {len(shards)} shards are there; others are missing")


def _check_fields(dataset: Dataset) -> None:
    for name in (*dataset.labels, *dataset.groups):
        if name in COLUMNS:
            raise StratascopeError(
                f"labels, groups: the field {name!r} has the name of a column that the index has anyway "
                f"({', '.join(COLUMNS)}); rename it in the data"
            )


def _is_whole(folder: Path) -> bool:
    if not is_features(folder):
        return False
    try:
        Features.open(folder)
    except StratascopeError:
        return False
    return True


def _rows(source: Source, shards: Sequence[Shard]) -> Iterator[object]:
    for shard in shards:
        yield from source.read(shard.start, shard.stop)


def _refuse(bad: Sequence[BadRow], features: FeatureSet) -> None:
    if bad:
        listed = "; ".join(f"line {row.line}: {row.reason}" for row in bad[:LISTED])
        more = f"; and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
        raise StratascopeError(
            f"{features.label}: {len(bad)} bad rows: {listed}{more}. Mend them, or leave them out with "
            "on_bad_row: skip"
        )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    set_threads(count)
    try:
        yield
    finally:
        set_threads(before)


@dataclass(frozen=True)
class _Extraction:
    """What the shards of one extraction have in common."""

    loaded: Loaded
    features: FeatureSet
    folder: Path
    reader: Reader
    say: Say

    @property
    def dataset(self) -> Dataset:
        return self.features.dataset

    @property
    def mean(self) -> bool:
        return self.dataset.position in MEANS

    @property
    def dtype(self) -> str:
        """The precision on disk."""
        return self.dataset.store_dtype or str(self.loaded.model.dtype).removeprefix("torch.")

    def write(self, source: Source, shards: Sequence[Shard], total: int) -> None:
        """Make shards, one after the other."""
        self._probe()
        budget = token_budget(self.loaded, self.reader.widths, pooled=self.dataset.pooled)
        start = begin(self.folder, self.features.digest, budget)
        began, texts_done = time.monotonic(), 0
        with (
            ThreadPoolExecutor(1, "feature-texts") as ahead,
            ThreadPoolExecutor(1, "feature-shards") as behind,
            FeatureWriter(getattr(torch, self.dtype), self.loaded.device) as writer,
        ):
            closing: Future[None] | None = None
            coming = ahead.submit(self._read, source, shards[0])
            for i, shard in enumerate(shards):
                texts, bad = coming.result()
                if shard is not shards[-1]:
                    coming = ahead.submit(self._read, source, shards[i + 1])
                start, close = self._shard(shard, texts, bad, start, writer)
                if closing is not None:
                    closing.result()
                closing = behind.submit(close)
                texts_done += len(texts)
                speed = texts_done / (time.monotonic() - began)
                left = sum(s.stop - s.start for s in shards[i + 1 :]) / max(speed, 1e-9)
                skipped = f" ({len(bad)} skipped)" if bad else ""
                self.say(
                    f"{self.features.label}: shard {shard.number + 1}/{total}: {len(texts)} texts"
                    f"{skipped}, {speed:.0f} texts/s, about {left:.0f} s left"
                )
            if closing is not None:
                closing.result()

    def _probe(self) -> None:
        """Learn the widths from two texts of two tokens, which show what is not one row a token."""
        ids = np.zeros(2, np.int64)
        texts = [Text(0, None, ids, range(2), {})] * 2
        self.reader.probe(make_inputs(self.loaded, texts), Selection(texts, mean=self.mean))

    def _read(self, source: Source, shard: Shard) -> tuple[list[Text], list[BadRow]]:
        texts, bad = read_texts(self.loaded, self.dataset, source.read(shard.start, shard.stop))
        if self.dataset.on_bad_row == "error":
            _refuse(bad, self.features)
        return texts, bad

    def _shard(
        self,
        shard: Shard,
        texts: Sequence[Text],
        bad: Sequence[BadRow],
        start: Start,
        writer: FeatureWriter,
    ) -> tuple[Start, Callable[[], None]]:
        """Read and write a shard's tensors; what is left to do is for another thread.

        A batch that does not fit into memory lowers the budget, and the shard begins anew, so that
        its bytes depend on the budget alone and not on when the memory ran out.
        """
        counts = [1 if self.dataset.pooled else len(text.kept) for text in texts]
        starts = np.cumsum([0, *counts], dtype=np.int64)
        spec = DTYPES[self.dtype]
        specs = {
            name: TensorSpec(spec, (int(starts[-1]), width))
            for name, width in self.reader.widths.items()
        }
        alone: noise.Alone = {}
        if shard.number == 0:
            dtype = getattr(torch, self.dtype)
            alone = noise.read_alone(self.loaded, self.reader, texts, dtype, mean=self.mean)
        while True:
            with ExitStack() as stack:
                partial = stack.enter_context(new_file(shard.file(self.folder)))
                file = stack.enter_context(TensorFile(partial, specs))
                too_large = self._batches(texts, starts, counts, start.token_budget, file, writer)
                writer.drain()
                if not too_large:
                    files = stack.pop_all()
                    break
            start = Start(lowered(start.token_budget, too_large), start.lowered + 1)
            save_start(self.folder, self.features.digest, start)
            self.say(f"{self.features.label}: out of memory; now {start.token_budget} tokens a batch")
            if self.loaded.device.type == "cuda":
                torch.cuda.empty_cache()

        def close() -> None:
            floor = 0.0
            with files:
                file.finish(int(starts[-1]))
                if alone:
                    tensors = TensorReader.open(partial)
                    floor = noise.largest_difference(alone, tensors, dict(enumerate(starts.tolist())))
                checksum = sha256(partial)
            about = {
                "file": shard.file(self.folder).name,
                "input": [shard.start, shard.stop],
                "texts": len(texts),
                "rows": int(starts[-1]),
                "sha256": checksum,
                "skipped": [{"line": row.line, "reason": row.reason} for row in bad],
                "shapes": self.reader.widths,
                "dtype": self.dtype,
                "batches": {"token_budget": start.token_budget, "lowered": start.lowered},
                "noise_floor": [floor, len(alone)],
            }
            write_record(self.folder, shard, self._index(shard, texts, starts, counts), about)

        return start, close

    def _batches(
        self,
        texts: Sequence[Text],
        starts: np.ndarray,
        counts: Sequence[int],
        budget: int,
        file: TensorFile,
        writer: FeatureWriter,
    ) -> int:
        """All batches of a shard; the tokens of the first that did not fit into memory, if one did not."""
        lengths = [len(text.ids) for text in texts]
        for numbers in plan_batches(lengths, budget, rotary_border(self.loaded.config)):
            batch = [texts[number] for number in numbers]
            places = find_places(
                [starts[n] for n in numbers], [counts[n] for n in numbers], [t.line for t in batch]
            )
            writer.begin(file, places)
            try:
                inputs = make_inputs(self.loaded, batch)
                self.reader.read(inputs, Selection(batch, mean=self.mean), writer)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise StratascopeError(
                        f"line {batch[0].line}: a text of {lengths[numbers[0]]} tokens does not fit into "
                        "memory, even by itself; leave it out, or use a smaller model.dtype"
                    ) from error
                return lengths[numbers[0]] * len(batch)
        return 0

    def _index(
        self, shard: Shard, texts: Sequence[Text], starts: np.ndarray, counts: Sequence[int]
    ) -> "object":
        columns = {
            "text": [text.text for text in texts],
            "line": [text.line for text in texts],
            "shard": [shard.number] * len(texts),
            "row": starts[:-1],
            "rows": counts,
            "tokens": [len(text.ids) for text in texts],
        }
        fields = dict.fromkeys((*self.dataset.labels, *self.dataset.groups))
        return index_table(columns | {f: [t.fields.get(f) for t in texts] for f in fields})
