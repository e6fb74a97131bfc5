"""What the benchmarks share: the sizes, a model loaded in both ways, and a study to run."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedModel

import random_model
import studies
from sizes import FULL, Sizes
from stratascope.capture.loading import Loaded, load, quiet
from stratascope.study.checkpoints import Checkpoint
from stratascope.study.runs import Run
from stratascope.study.schema import Capture, Generation, Message, Model
from stratascope.study.strict import Dtype

# Runs and models compute in float32, which is fast on a CPU; half of that goes to the disk.
STORED: Dtype = "float16"


class Bench:
    """Made once for all benchmarks; each part is built when the first of them asks for it."""

    def __init__(self, sizes: Sizes, folder: Path) -> None:
        self.sizes = sizes
        self.folder = folder

    @cached_property
    def model_folder(self) -> Path:
        """A checkpoint folder with random weights."""
        folder = self.folder / "model"
        random_model.save_model(self.sizes, folder)
        return folder

    @cached_property
    def loaded(self) -> Loaded:
        """The model as Stratascope loads it."""
        model = Model(id="model", dtype="float32", device="cpu")
        return load(Checkpoint("model", model, str(self.model_folder), None, "random"))

    @cached_property
    def deep_folder(self) -> Path:
        """A checkpoint folder with random weights and more layers."""
        folder = self.folder / "deep"
        random_model.save_model(replace(self.sizes, layers=self.sizes.deep_layers), folder)
        return folder

    @cached_property
    def deep(self) -> Loaded:
        """The deeper model as Stratascope loads it."""
        model = Model(id="deep", dtype="float32", device="cpu")
        return load(Checkpoint("deep", model, str(self.deep_folder), None, "random"))

    @cached_property
    def eager(self) -> PreTrainedModel:
        """The same weights with eager attention throughout, as attention weights need elsewhere."""
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                self.model_folder, dtype="float32", attn_implementation="eager"
            )
        return model.eval().requires_grad_(False)

    def run(self, messages: tuple[Message, ...], large: bool = True) -> Run:
        """A run of ``messages`` that captures everything, or all but the ``large`` tensors.

        Those are the attention weights and the logits.
        """
        return Run(
            scenario="benchmark",
            parent="benchmark",
            shown="benchmark.yaml",
            checkpoint=self.loaded.checkpoint,
            messages=messages,
            generation=Generation(max_new_tokens=self.sizes.passes),
            capture=Capture(store_dtype=STORED, attention_weights=large, logits=large),
            references=None,
            threads=1,
        )

    @cached_property
    def study(self) -> Path:
        """A study with nothing left to do: the embedded one, or a tiny one for tiny sizes.

        Raises SkippedError where the embedded study's models are not there.
        """
        folder = self.folder / "study"
        if self.sizes == FULL:
            studies.copy_embedded(folder)
        else:
            studies.write_small(folder, self.model_folder)
        studies.snakemake(folder)
        return folder
