"""What every part of a config or scenario file is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Dtype = Literal["float16", "bfloat16", "float32"]


class Strict(BaseModel):
    """Frozen, and with no room for a misspelt key."""

    model_config = ConfigDict(extra="forbid", frozen=True)
