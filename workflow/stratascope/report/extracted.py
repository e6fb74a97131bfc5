"""What the report reads of extracted features: what was extracted, and the texts' labels and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stratascope.store.features import INDEX, Features

# So many texts are looked at for what all of them end with.
ENDING_OF = 200


@dataclass(frozen=True)
class Extracted:
    """One dataset's features on one checkpoint."""

    dataset: str
    checkpoint: str
    features: Features

    @classmethod
    def open(cls, folder: Path) -> Extracted:
        """Features that a study left. Raises StratascopeError if they are not there, or not whole."""
        features = Features.open(folder)
        dataset, _, checkpoint = features.info["label"].rpartition("@")
        return cls(dataset, checkpoint, features)

    @property
    def info(self) -> Mapping[str, Any]:
        """run.json."""
        return self.features.info

    @property
    def labels(self) -> list[str]:
        """The fields that label a text."""
        return list(self.info["dataset"]["labels"])

    @property
    def groups(self) -> list[str]:
        """The fields that say which texts belong together."""
        return list(self.info["dataset"]["groups"])

    @property
    def ending(self) -> str:
        """What a chat template puts at the end of every text, where the last token is read."""
        if self.info["position"] != "last" or not self.info["dataset"]["messages"]:
            return ""
        texts = self.texts(self.columns(["line"])["line"].head(ENDING_OF))
        shortest = min(texts.values(), key=len, default="")
        endings = (shortest[start:] for start in range(len(shortest) + 1))
        return next(end for end in endings if all(text.endswith(end) for text in texts.values()))

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        """Some columns of the index, a row a text; the others are not read."""
        return pd.read_parquet(self.features.path / INDEX, columns=list(names))

    def texts(self, lines: Iterable[int]) -> dict[int, str]:
        """The texts of some lines of the dataset, as the model read them; none for bare token ids."""
        wanted = sorted({int(line) for line in lines})
        if not wanted:
            return {}
        read = pd.read_parquet(
            self.features.path / INDEX, columns=["line", "text"], filters=[("line", "in", wanted)]
        )
        known = read[read["text"].notna()]
        return {int(line): text for line, text in zip(known["line"], known["text"], strict=True)}
