"""What a dataset is: labelled texts, which of them to read, and what to keep of their activations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stratascope.study.names import nearest
from stratascope.study.strict import Dtype, Strict

# `last` and `mean` give one row a text, `all` and `span` one row a token, `span_mean` one a text.
Pooling = Literal["last", "mean", "all", "span", "span_mean"]
Format = Literal["auto", "jsonl", "csv", "parquet", "tokens", "hub"]

# The measures of measure/similarity, named here so that planning need not import them; a test holds
# the two together.
SIMILARITY_MEASURES = (
    "linear_cka_debiased",
    "linear_cka",
    "rbf_cka_debiased",
    "rbf_cka",
    "svcca",
    "pwcca",
    "procrustes",
    "angular",
    "rsa",
    "rsa_pearson",
    "mutual_knn",
)


def _unique(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Refuse a list in which a name stands twice."""
    for name in names or ():
        if names is not None and names.count(name) > 1:
            raise ValueError(f"{name} stands twice")
    return names


def sorted_layers(value: str | tuple[int, ...]) -> str | tuple[int, ...]:
    """Layers in order, each once; an empty list is refused."""
    if not isinstance(value, str) and not value:
        raise ValueError("an empty list reads nothing: name layers, or write `all`")
    return value if isinstance(value, str) else tuple(sorted(set(value)))


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

    _each_once = field_validator("labels", "groups", "sites", "modules")(_unique)

    @field_validator("layers")
    @classmethod
    def _sorted_layers(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        return sorted_layers(value)

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
    folds: int = Field(
        default=5,
        ge=3,
        description="Folds of the cross-validation: one is held out, the others choose the penalty.",
    )
    bootstrap: int = Field(default=1000, ge=1, description="Draws for the intervals.")
    permutations: int = Field(default=20, ge=0, description="Draws of the shuffled-label null.")
    transfer: tuple[Literal["checkpoints", "layers", "datasets"], ...] = Field(
        default=(), description="Also judge probes on other checkpoints, layers, or datasets."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of folds, draws and control tasks.")

    _each_once = field_validator("labels", "transfer")(_unique)


class Similarity(Strict):
    """How alike layers and checkpoints represent a dataset's texts."""

    measures: Annotated[tuple[str, ...], Field(min_length=1)] = ("linear_cka_debiased",)
    permutations: int = Field(default=100, ge=0, description="Draws of the permutation null.")
    bootstrap: int = Field(default=200, ge=0, description="Draws for the intervals.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the draws.")

    _each_once = field_validator("measures")(_unique)

    @field_validator("measures")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in SIMILARITY_MEASURES:
                near = nearest(name, SIMILARITY_MEASURES)
                there = f"did you mean {near}?" if near else ""
                raise ValueError(
                    f"no measure {name!r}; {there or 'known: ' + ', '.join(SIMILARITY_MEASURES)}"
                )
        return value


class Neurons(Strict):
    """What every neuron of one site does over a dataset's texts, token by token."""

    site: str = Field(default="mlp_act", description="Where: a site with a number a neuron.")
    layers: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] = "all"
    top_k: int = Field(
        default=10, ge=1, le=100, description="Texts kept at which each is strongest, and weakest."
    )
    checkpoints: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None, description="Names of checkpoints; by default all of the dataset's."
    )
    pool: Literal["mean", "max"] = Field(
        default="mean", description="A text's value, held against its labels: over its tokens."
    )
    permutations: int = Field(default=100, ge=0, description="Draws of the shuffled-label null.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the draws.")

    _no_checkpoint_twice = field_validator("checkpoints")(_unique)

    @field_validator("layers")
    @classmethod
    def _sorted_layers(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        return sorted_layers(value)


class StudyDataset(Dataset):
    """A dataset of a study."""

    probes: Probes | Literal[False] = Field(
        default=Probes(), description="How its labels are probed; `false` leaves it."
    )
    similarity: Similarity | Literal[False] = Field(
        default=Similarity(), description="How its features are compared; `false` leaves it."
    )
    neurons: Neurons | None = Field(
        default=None, description="A pass over every neuron of one site; absent, there is none."
    )
    checkpoints: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None, description="Names of checkpoints; by default all of the study's."
    )
    jobs: int = Field(default=1, ge=1, description="Jobs that share the shards of a checkpoint.")

    _no_checkpoint_twice = field_validator("checkpoints")(_unique)

    @model_validator(mode="after")
    def _neurons_where_it_is_read(self) -> StudyDataset:
        for name in (self.neurons.checkpoints or ()) if self.neurons else ():
            if self.checkpoints is not None and name not in self.checkpoints:
                raise ValueError(
                    f"neurons.checkpoints: {name!r} is none of the dataset's checkpoints: "
                    f"{', '.join(self.checkpoints)}"
                )
        return self

    @model_validator(mode="after")
    def _probeable(self) -> StudyDataset:
        if not self.probes:
            return self
        for name in self.probes.labels or ():
            if name not in self.labels:
                near = nearest(name, self.labels)
                known = ", ".join(self.labels) or "none; list it in `labels`"
                remedy = f"did you mean {near!r}?" if near else f"labels of the dataset: {known}"
                raise ValueError(f"probes.labels: no label {name!r}; {remedy}")
        if not self.pooled and (self.probes.labels or self.probes.transfer):
            raise ValueError(
                f"probes: position: {self.position} keeps a row a token, and a label belongs to a text; "
                "choose a position with one row a text, or leave probes out"
            )
        return self
