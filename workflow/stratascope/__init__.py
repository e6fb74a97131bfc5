"""Stratascope: reproducible studies of what happens inside language models, layer by layer.

In a notebook, ``import stratascope as ss``; docs/api.md is the tour. What needs torch is imported when it
is first used, so that the import itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stratascope.errors import StratascopeError

if TYPE_CHECKING:
    from stratascope.api.activations import Activations
    from stratascope.api.extraction import extract, open_features, open_run
    from stratascope.api.files import load_activations
    from stratascope.api.generated import Generated
    from stratascope.api.heads import detect_heads
    from stratascope.api.loading import load, wrap
    from stratascope.api.model import Model
    from stratascope.api.neurons import neurons
    from stratascope.api.summaries import stats
    from stratascope.api.traces import record_trace
    from stratascope.store.traces import open_trace

__version__ = "0.1.0"

# Where each name comes from.
_HOMES = {
    "Activations": "stratascope.api.activations",
    "Generated": "stratascope.api.generated",
    "Model": "stratascope.api.model",
    "detect_heads": "stratascope.api.heads",
    "extract": "stratascope.api.extraction",
    "load": "stratascope.api.loading",
    "load_activations": "stratascope.api.files",
    "neurons": "stratascope.api.neurons",
    "open_features": "stratascope.api.extraction",
    "open_run": "stratascope.api.extraction",
    "open_trace": "stratascope.store.traces",
    "record_trace": "stratascope.api.traces",
    "stats": "stratascope.api.summaries",
    "wrap": "stratascope.api.loading",
}

__all__ = [
    "Activations",
    "Generated",
    "Model",
    "StratascopeError",
    "detect_heads",
    "extract",
    "load",
    "load_activations",
    "neurons",
    "open_features",
    "open_run",
    "open_trace",
    "record_trace",
    "stats",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stratascope' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
