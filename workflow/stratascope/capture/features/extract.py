"""From a dataset to features: a shard at a time, each whole or not there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch

from stratascope.capture.allocator import keep_freed_memory
from stratascope.capture.features.batches import Selection, make_inputs
from stratascope.capture.features.budget import token_budget
from stratascope.capture.features.compiled import compiled_layers
from stratascope.capture.features.fields import Kinds, check_names
from stratascope.capture.features.finish import finish_features
from stratascope.capture.features.making import Maker, Say, ShardTexts
from stratascope.capture.features.reader import Reader, reading
from stratascope.capture.features.shards import (
    Shard,
    begin,
    check_folder,
    dealt,
    drop_records,
    shards_of,
)
from stratascope.capture.features.taps import feature_taps
from stratascope.capture.features.texts import MEANS, Text, read_texts
from stratascope.capture.features.writing import FeatureWriter
from stratascope.capture.loading import Loaded, set_threads
from stratascope.capture.neurons.making import NeuronMaker
from stratascope.errors import StratascopeError
from stratascope.store.datasets.rows import BadRow, Source
from stratascope.store.features import INFO, is_features, is_whole
from stratascope.store.tensors import DTYPES
from stratascope.study.features import FeatureSet, NeuronSet

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
    check_names(dataset)
    taps = feature_taps(loaded, dataset)
    check_folder(folder, features.digest)
    if is_whole(folder):
        say(f"{features.label}: already there")
        return
    (folder / INFO).unlink(missing_ok=True)  # whose files somebody removed
    shards = shards_of(source.count(), dataset.shard_texts)
    if not shards:
        raise StratascopeError(f"{features.label}: the dataset has no texts")
    missing = [shard for shard in dealt(shards, part) if not shard.is_done(folder)]
    if missing:
        texts = _Texts(loaded, features, source)
        texts.check(missing)
        with ExitStack() as stack:
            stack.enter_context(_threads(features.threads))
            keep_freed_memory()
            if compile:
                stack.enter_context(compiled_layers(loaded, taps))
            reader = stack.enter_context(reading(loaded, taps))
            writer = FeatureWriter(_stored(loaded, features), loaded.device)
            made = NeuronMaker if isinstance(features, NeuronSet) else Maker
            maker = made(loaded, features, folder, reader, writer, say)
            _make_all(maker, texts, missing, len(shards))
    there = sum(shard.is_done(folder) for shard in shards)
    if is_features(folder):
        drop_records(folder, shards)  # another process has ended it meanwhile
    elif there == len(shards):
        finish_features(loaded, features, folder, shards)
    else:
        say(f"{features.label}: {there} of {len(shards)} shards are there; others are missing")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    set_threads(count)
    try:
        yield
    finally:
        set_threads(before)


def _stored(loaded: Loaded, features: FeatureSet) -> torch.dtype:
    """The precision on disk: the model's own, if the dataset does not say.

    Raises:
        StratascopeError: a model in a precision that is not stored.
    """
    name = features.dataset.store_dtype or str(loaded.model.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise StratascopeError(
            f"store_dtype: the model runs in {name}; choose one of {', '.join(DTYPES)}"
        )
    dtype: torch.dtype = getattr(torch, name)
    return dtype


class _Texts:
    """The texts of each shard, read from a source."""

    def __init__(self, loaded: Loaded, features: FeatureSet, source: Source) -> None:
        self._loaded = loaded
        self._features = features
        self._source = source
        self._kinds = Kinds()

    def check(self, shards: Sequence[Shard]) -> None:
        """Read all rows of ``shards`` once, before any work, if a bad one is an error.

        Raises:
            StratascopeError: bad rows, with their lines.
        """
        if self._features.dataset.on_bad_row == "error":
            first: list[BadRow] = []
            count = 0
            for row in (row for s in shards for row in self._source.read(s.start, s.stop)):
                self._kinds.check(row)
                if isinstance(row, BadRow):
                    count += 1
                    first += [row][: LISTED - len(first)]
            self._refuse(first, count)

    def read(self, shard: Shard) -> ShardTexts:
        """The texts of a shard.

        Raises:
            StratascopeError: rows that turn out to be bad as tokens, if they are not skipped.
        """
        dataset = self._features.dataset
        rows = list(self._source.read(shard.start, shard.stop))
        for row in rows:
            self._kinds.check(row)
        texts, bad = read_texts(self._loaded, dataset, rows)
        if dataset.on_bad_row == "error":
            self._refuse(bad, len(bad))
        return ShardTexts.of(shard, texts, bad, pooled=dataset.pooled)

    def _refuse(self, bad: Sequence[BadRow], count: int) -> None:
        """Raise an error that lists the first of ``count`` bad rows, if there are any."""
        if bad:
            listed = "; ".join(f"line {row.line}: {row.reason}" for row in bad[:LISTED])
            more = f"; and {count - LISTED} more" if count > LISTED else ""
            rows = "1 bad row" if count == 1 else f"{count} bad rows"
            raise StratascopeError(
                f"{self._features.label}: {rows}: {listed}{more}. Mend what is bad, or leave it out with "
                "on_bad_row: skip"
            )


def _probe(loaded: Loaded, reader: Reader, *, mean: bool) -> None:
    """Learn the widths from two texts of two tokens, which show what is not one row a token."""
    texts = [Text(0, None, np.zeros(2, np.int64), range(2), {})] * 2
    reader.probe(make_inputs(loaded, texts), Selection(texts, mean=mean))


def _make_all(maker: Maker, texts: _Texts, shards: Sequence[Shard], total: int) -> None:
    """Make shards one after the other: the next one's texts are read, and the last one is hashed and
    brought to the disk, while the model works."""
    features = maker.features
    dataset = features.dataset
    _probe(maker.loaded, maker.reader, mean=dataset.position in MEANS)
    budget = token_budget(maker.loaded, maker.reader.widths, pooled=dataset.pooled)
    start = begin(maker.folder, features.digest, budget)
    began, done = time.monotonic(), 0
    last: Future[None] | None = None
    with ThreadPoolExecutor(1, "feature-shards") as behind, maker.writer:
        for content in _ahead(texts, shards):
            shard = content.shard
            if shard.is_done(maker.folder) or is_features(maker.folder):
                continue  # another process was faster
            start, close = maker.make(content, start)
            before, last = last, behind.submit(close)
            if before is not None:
                before.result()
            done += len(content.texts)
            speed = done / (time.monotonic() - began)
            left = sum(later.stop - later.start for later in shards if later.number > shard.number)
            skipped = f" ({len(content.bad)} skipped)" if content.bad else ""
            maker.say(
                f"{features.label}: shard {shard.number + 1}/{total}: {len(content.texts)} texts"
                f"{skipped}, {speed:.1f} texts/s, about {left / max(speed, 1e-9):.0f} s left"
            )
        if last is not None:
            last.result()


def _ahead(texts: _Texts, shards: Sequence[Shard]) -> Iterator[ShardTexts]:
    """The texts of each shard, read by a thread while the shard before is at work."""
    with ThreadPoolExecutor(1, "feature-texts") as thread:
        coming = thread.submit(texts.read, shards[0])
        for later in shards[1:]:
            content = coming.result()
            coming = thread.submit(texts.read, later)
            yield content
        yield coming.result()
