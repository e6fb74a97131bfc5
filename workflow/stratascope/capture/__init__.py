"""The capture room: the only place that touches a model.

Nothing here phones home: Hugging Face's telemetry is off before its libraries are imported.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
