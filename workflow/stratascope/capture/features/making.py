"""One shard of features: its texts through the model in batches, its tensors into a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stratascope.capture.features import noise
from stratascope.capture.features.batches import (
    Selection,
    make_inputs,
    plan_batches,
    rotary_border,
)
from stratascope.capture.features.budget import is_out_of_memory, lowered
from stratascope.capture.features.reader import Reader, Sink
from stratascope.capture.features.shards import (
    Shard,
    Start,
    index_table,
    save_start,
    write_record,
)
from stratascope.capture.features.texts import MEANS, Text
from stratascope.capture.features.writing import FeatureWriter, find_places
from stratascope.capture.loading import Loaded
from stratascope.errors import StratascopeError
from stratascope.store.commit import new_file
from stratascope.store.datasets.rows import BadRow
from stratascope.store.hashes import sha256
from stratascope.store.tensorread import TensorReader
from stratascope.store.tensors import DTYPES, TensorFile, TensorSpec
from stratascope.study.features import FeatureSet

Say = Callable[[str], None]


@dataclass(frozen=True)
class ShardTexts:
    """The texts of a shard in the order of the input, and the rows that were left out.

    Text ``i`` has ``counts[i]`` rows in the shard's tensors, from row ``starts[i]`` on; the last of
    ``starts`` is how many rows there are.
    """

    shard: Shard
    texts: Sequence[Text]
    bad: Sequence[BadRow]
    counts: Sequence[int]
    starts: NDArray[np.int64]

    @classmethod
    def of(
        cls, shard: Shard, texts: Sequence[Text], bad: Sequence[BadRow], *, pooled: bool
    ) -> ShardTexts:
        """``pooled``: a text has one row, not one for each token kept."""
        counts = [1 if pooled else len(text.kept) for text in texts]
        return cls(shard, texts, bad, counts, np.cumsum([0, *counts], dtype=np.int64))

    @property
    def rows(self) -> int:
        """How many rows a tensor of the shard has."""
        return int(self.starts[-1])

    def index(self, fields: Sequence[str]) -> Any:
        """The shard's part of the index, with labels and groups ``fields``."""
        return index_table(
            {
                "text": [text.text for text in self.texts],
                "line": [text.line for text in self.texts],
                "shard": [self.shard.number] * len(self.texts),
                "row": self.starts[:-1],
                "rows": self.counts,
                "tokens": [len(text.ids) for text in self.texts],
            }
            | {field: [text.fields[field] for text in self.texts] for field in fields}
        )


@dataclass(frozen=True)
class Maker:
    """What makes the shards of one extraction.

    Subclasses keep something else of each token: they say what, by the methods that follow ``make``.
    """

    loaded: Loaded
    features: FeatureSet
    folder: Path
    reader: Reader
    writer: FeatureWriter
    say: Say

    @property
    def _mean(self) -> bool:
        return self.features.dataset.position in MEANS

    def make(self, content: ShardTexts, start: Start) -> tuple[Start, Callable[[], None]]:
        """Read and write a shard's tensors.

        Returns how the extraction goes on, and what is left to do for the shard: it needs no model,
        so it is for another thread.

        A batch that does not fit into memory lowers the budget, and the shard begins anew. So its
        bytes depend on the budget, which is recorded, and not on when the memory ran out.

        Raises:
            StratascopeError: values that are not finite, a text that is too long for the memory.
        """
        alone = self._alone(content.texts) if content.shard.number == 0 else {}
        while True:
            with ExitStack() as stack:
                partial = stack.enter_context(new_file(content.shard.file(self.folder)))
                file = stack.enter_context(TensorFile(partial, self._specs(content.rows)))
                try:
                    too_large = self._read_all(content, start.token_budget, file)
                except BaseException:
                    wait([self.writer.mark()])  # nothing may write to a file that is closed
                    raise
                written = self.writer.mark()
                if not too_large:
                    files = stack.pop_all()
                    save = self._beside(content)
                    break
                written.result()
            start = Start(lowered(start.token_budget, too_large), start.lowered + 1)
            save_start(self.folder, self.features.digest, start)
            self.say(
                f"{self.features.label}: out of memory; now {start.token_budget} tokens a batch"
            )
            if self.loaded.device.type == "cuda":
                torch.cuda.empty_cache()

        def close() -> None:
            with files, ThreadPoolExecutor(1, "feature-hash") as beside:
                written.result()
                # Hashed while the disk is at work: both take about as long.
                checksum = beside.submit(sha256, partial)
                file.finish(content.rows)
                tensors = TensorReader.open(partial)
                floor = noise.largest_difference(alone, tensors, content.starts)
            self._record(
                content,
                start,
                {content.shard.file(self.folder).name: checksum.result()} | save(),
                {"difference": floor, "texts": len(alone)},
            )

        return start, close

    def _widths(self) -> dict[str, int]:
        """How many numbers a row of each tensor of a shard has."""
        return self.reader.widths

    def _selection(self, texts: Sequence[Text]) -> Selection:
        """Which rows of a module reach the sink."""
        return Selection(texts, mean=self._mean)

    def _sink(self, keep: Sink, texts: Sequence[Text], numbers: Sequence[int] | None) -> Sink:
        """What takes a module's rows and hands those of ``_widths`` to ``keep``.

        ``numbers`` are the texts' places in the shard, or None where they are read once more, alone.
        """
        return keep

    def _begin(self) -> None:
        """A shard begins, or begins anew."""

    def _beside(self, content: ShardTexts) -> Callable[[], dict[str, str]]:
        """What else a shard that is read leaves: a function for another thread writes it.

        It returns the hash of each further file by name.
        """
        return dict

    def _index(self, content: ShardTexts) -> Any:
        """The shard's part of the index."""
        dataset = self.features.dataset
        return content.index(list(dict.fromkeys((*dataset.labels, *dataset.groups))))

    def _specs(self, rows: int) -> dict[str, TensorSpec]:
        dtype = DTYPES[str(self.writer.dtype).removeprefix("torch.")]
        return {name: TensorSpec(dtype, (rows, n)) for name, n in self._widths().items()}

    def _alone(self, texts: Sequence[Text]) -> noise.Alone:
        """What the noise floor needs: the features of a few texts, each in a pass of its own."""
        alone: noise.Alone = {}
        for number in noise.chosen(texts):
            kept: dict[str, torch.Tensor] = {}

            def keep(
                names: tuple[str, ...], rows: torch.Tensor, kept: dict[str, torch.Tensor] = kept
            ) -> None:
                kept.update(dict.fromkeys(names, rows.to(self.writer.dtype)))

            one = [texts[number]]
            self._read(one, self._sink(keep, one, None))
            alone[number] = {name: rows.float().cpu().numpy() for name, rows in kept.items()}
        return alone

    def _read_all(self, content: ShardTexts, budget: int, file: TensorFile) -> int:
        """All batches; the tokens of the first that did not fit into memory, or 0."""
        lengths = [len(text.ids) for text in content.texts]
        self._begin()
        for numbers in plan_batches(lengths, budget, rotary_border(self.loaded.config)):
            batch = [content.texts[number] for number in numbers]
            self.writer.begin(
                file,
                find_places(
                    content.starts[numbers],
                    [content.counts[number] for number in numbers],
                    [text.line for text in batch],
                ),
            )
            if not self._read(batch, self._sink(self.writer, batch, numbers)):
                return lengths[numbers[0]] * len(batch)
        return 0

    def _read(self, texts: Sequence[Text], sink: Sink) -> bool:
        """One forward pass; false if it does not fit into memory."""
        try:
            inputs = make_inputs(self.loaded, texts)
            self.reader.read(inputs, self._selection(texts), sink)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(texts) == 1:
                raise StratascopeError(
                    f"{self.features.label}: the text in line {texts[0].line}, {len(texts[0].ids)} tokens, "
                    "does not fit into memory even by itself; leave it out, or choose a smaller precision "
                    "or fewer sites"
                ) from error
            return False
        return True

    def _record(
        self, content: ShardTexts, start: Start, files: dict[str, str], floor: dict[str, float]
    ) -> None:
        name = content.shard.file(self.folder).name
        about = {
            "file": name,
            "input": [content.shard.start, content.shard.stop],
            "texts": len(content.texts),
            "rows": content.rows,
            "sha256": files[name],
            "files": files,
            "skipped": [{"line": row.line, "reason": row.reason} for row in content.bad],
            "shapes": self._widths(),
            "dtype": str(self.writer.dtype).removeprefix("torch."),
            "batches": {"token_budget": start.token_budget, "lowered": start.lowered},
            "noise_floor": floor,
        }
        write_record(self.folder, content.shard, self._index(content), about)
