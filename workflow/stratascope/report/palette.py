"""The report's colours: each list distinguishable with any colour vision.

Categories come from Okabe and Ito (2008, "Color Universal Design") and Paul Tol's "bright" scheme
(technical note SRON/EPS/TN/09-002); a second value serves a dark background. The diverging scale runs
orange - neutral - blue, the sequential one grows darker (lighter on dark) with the value.
"""

from __future__ import annotations

from typing import Any

PALETTES: dict[str, Any] = {
    "source": {
        "light": ["#4477aa", "#222a35", "#228833", "#b8336a"],
        "dark": ["#7fb2e5", "#f1efe7", "#6fcf7f", "#f28ab2"],
    },
    "reference": {
        "light": [
            "#0072b2",
            "#d55e00",
            "#009e73",
            "#cc79a7",
            "#b58900",
            "#56b4e9",
            "#6b4c9a",
            "#555b66",
        ],
        "dark": [
            "#4aa8e8",
            "#ff8a3d",
            "#2fd3a0",
            "#f0a3cf",
            "#f0c234",
            "#9bdcff",
            "#b69be8",
            "#b5bcc9",
        ],
    },
    "checkpoint": {
        "light": [
            "#0072b2",
            "#d55e00",
            "#009e73",
            "#8a4f9e",
            "#b58900",
            "#56b4e9",
            "#7a2e2e",
            "#555b66",
        ],
        "dark": [
            "#4aa8e8",
            "#ff8a3d",
            "#2fd3a0",
            "#d3a0e6",
            "#f0c234",
            "#9bdcff",
            "#e59a9a",
            "#b5bcc9",
        ],
    },
    "role": {
        "light": ["#5c6470", "#0072b2", "#00835f"],
        "dark": ["#aab2bf", "#5bb4f0", "#3fd6a6"],
    },
    "plain": {"light": ["#8a8f98", "#222a35"], "dark": ["#7d8592", "#f1efe7"]},
    "highlight": {
        "light": ["#d55e00", "#0072b2", "#009e73", "#a8327d", "#8a6d00"],
        "dark": ["#ff9a52", "#62bbf5", "#3fdcab", "#f49ad0", "#f2cf55"],
    },
    "diverging": {
        "light": ["#8c3b04", "#d9782d", "#f3c49b", "#f4f3ef", "#a9cbe6", "#3f8ac4", "#0b3f78"],
        "dark": ["#ffb27a", "#d9702a", "#6e3d1e", "#23262c", "#1f4f7a", "#3f92d2", "#b5dcff"],
    },
    "sequential": {
        "light": ["#f4f3ef", "#cfe3dc", "#8cc3b8", "#47998f", "#1b6a6b", "#0c3d47"],
        "dark": ["#1f2329", "#1d4245", "#1f6b69", "#2f9a90", "#7fcbb6", "#dff5e6"],
    },
}
