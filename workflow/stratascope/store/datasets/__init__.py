"""Reading labelled texts: files, token ids, hub datasets. To add a format: an entry in ``FORMATS``."""

from stratascope.store.datasets.choice import MemorySource, sampled
from stratascope.store.datasets.formats import FORMATS, content_of, open_dataset
from stratascope.store.datasets.rows import BadRow, Row, Source

__all__ = [
    "FORMATS",
    "BadRow",
    "MemorySource",
    "Row",
    "Source",
    "content_of",
    "open_dataset",
    "sampled",
]
