"""What a dataset is: labelled texts, which of them to read, and what to keep of their activations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stratascope.study.strict import Dtype, Strict

# `last` and `mean` give one row a text, `all` and `span` one row a token, `span_mean` one a text.
Pooling = Literal["last", "mean", "all", "span", "span_mean"]
Format = Literal["auto", "jsonl", "csv", "parquet", "tokens", "hub"]


class Dataset(Strict):
    """Labelled texts and the features to extract from them."""

    data: str = Field(
        min_length=1,
        description="A file, a pattern such as `tokens/*.npy`, or the name of a hub dataset.",
    )
    format: Format = Field(default="auto", description="By default, the file's suffix says it.")
    subset: str | None = Field(default=None, description="A hub dataset's configuration.")
    split: str = Field(default="train", description="A hub dataset's split.")
    revision: str | None = Field(default=None, description="A hub dataset's commit.")
    text: str | None = Field(default=None, description="The field with the text.")
    messages: str | None = Field(default=None, description="The field with a conversation.")
    input_ids: str | None = Field(default=None, description="The field with token ids.")
    sequence: int | None = Field(
        default=None, ge=1, description="Tokens of a text, in a flat file of token ids."
    )
    token_dtype: Literal["uint16", "uint32", "int32", "int64"] = Field(
        default="uint16", description="How a `.bin` file of token ids stores them."
    )
    labels: tuple[str, ...] = Field(default=(), description="Fields to carry along as labels.")
    groups: tuple[str, ...] = Field(default=(), description="Fields to carry along as groups.")
    span: str | None = Field(
        default=None,
        description="The field with the marked span: [start, end] or a part of the text.",
    )
    generation_prompt: bool = Field(
        default=False, description="End rendered messages with the template's generation prompt."
    )
    sites: Annotated[tuple[str, ...], Field(min_length=0)] = ("hidden_out",)
    modules: tuple[str, ...] = Field(default=(), description="Modules to read by name.")
    layers: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] = "all"
    position: Pooling | int = Field(
        default="last",
        description="Which tokens: `last`, `mean`, `all`, an index, `span`, `span_mean`.",
    )
    max_samples: int | None = Field(default=None, ge=1, description="A random part of the texts.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Which random part.")
    on_bad_row: Literal["error", "skip"] = "error"
    store_dtype: Dtype | None = Field(
        default=None, description="The precision on disk; by default the model's own."
    )
    shard_texts: int = Field(default=1024, ge=1, description="Texts of the input in a shard.")

    @field_validator("layers")
    @classmethod
    def _sorted_layers(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if not isinstance(value, str) and not value:
            raise ValueError("an empty list reads nothing: name layers, or write `all`")
        return value if isinstance(value, str) else tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _consistent(self) -> Dataset:
        fields = [name for name in ("text", "messages", "input_ids") if getattr(self, name)]
        if len(fields) > 1:
            raise ValueError(f"{fields[0]} and {fields[1]}: a row has one of them; leave one out")
        if not self.sites and not self.modules:
            raise ValueError("sites: nothing to read; name sites, or modules")
        if str(self.position).startswith("span") and self.span is None:
            raise ValueError(f"position: {self.position} needs `span`, the field that marks it")
        return self

    @property
    def pooled(self) -> bool:
        """Whether a text leaves one row, not one row a token."""
        return self.position not in ("all", "span")


class Probes(Strict):
    """Linear probes of a dataset's labels, a probe for each label, site and layer."""

    labels: tuple[str, ...] | None = Field(
        default=None, description="Which labels; by default all of the dataset's."
    )
    folds: int = Field(default=5, ge=2, description="Folds of the cross-validation.")
    bootstrap: int = Field(default=1000, ge=0, description="Draws for the intervals.")
    permutations: int = Field(default=20, ge=0, description="Draws of the shuffled-label null.")
    transfer: tuple[Literal["checkpoints", "layers"], ...] = Field(
        default=(), description="Also judge probes on other checkpoints, or other layers."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of folds, draws and control tasks.")


class Similarity(Strict):
    """How alike layers and checkpoints represent a dataset's texts."""

    measures: Annotated[tuple[str, ...], Field(min_length=1)] = ("linear_cka_debiased",)
    permutations: int = Field(default=100, ge=0, description="Draws of the permutation null.")
    bootstrap: int = Field(default=200, ge=0, description="Draws for the intervals.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the draws.")


class StudyDataset(Dataset):
    """A dataset of a study."""

    probes: Probes | Literal[False] = Field(
        default=Probes(), description="How its labels are probed; `false` leaves it."
    )
    similarity: Similarity | Literal[False] = Field(
        default=Similarity(), description="How its features are compared; `false` leaves it."
    )
    checkpoints: tuple[str, ...] | None = Field(
        default=None, description="Names of checkpoints; by default all of the study's."
    )
    jobs: int = Field(default=1, ge=1, description="Jobs that share the shards of a checkpoint.")

