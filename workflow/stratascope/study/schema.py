"""What a scenario file and a study's config may hold: every key, its default, its meaning.

A superset of Activation Lab's scenario files. Unknown keys are errors. ``stratascope schema``
prints the JSON Schema of both for editors.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from stratascope.study.dataset import StudyDataset
from stratascope.study.microscope import Microscope
from stratascope.study.names import check_checkpoint_name, check_name, nearest
from stratascope.study.strict import Dtype, Strict

Position = Literal["generation_prompt", "turn_end", "content_mean"]


class Message(Strict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


Messages = Annotated[tuple[Message, ...], Field(min_length=1)]


class PromptMessage(Message):
    """A turn of the conversation, and what it is known to tell."""

    # Never dumped: no model reads it, so that naming it must not change what is captured.
    label: str | None = Field(
        default=None,
        exclude=True,
        description="Which of the reference states this message tells; results are tested with it.",
    )


class Prompt(Strict):
    """The conversation that a run reads before it generates."""

    messages: Annotated[tuple[PromptMessage, ...], Field(min_length=1)]
    run_at_each_message: bool = Field(
        default=False, description="One run for each prefix of the messages instead of one run."
    )


class Reference(Strict):
    """A short labelled conversation whose state is compared against."""

    label: str = Field(description="Stands in tables and charts; no spaces or slashes.")
    messages: Messages

    _label = field_validator("label")(check_name)


class Model(Strict):
    """Which weights, and how they are loaded."""

    id: str = Field(min_length=1, description="A local folder or a Hugging Face hub id.")
    revision: str | None = Field(
        default=None, description="A hub branch, tag or commit; `stratascope lock` pins it."
    )
    dtype: Dtype = Field(default="float16", description="The precision the model runs in.")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    device_map: Literal["auto", "balanced", "sequential"] | None = Field(
        default=None, description="Spread the weights over several devices, as accelerate does."
    )
    gguf_file: str | None = Field(default=None, description="A GGUF file inside the model.")
    trust_remote_code: bool = Field(
        default=False, description="Run Python code that the model brings with it."
    )


class Generation(Strict):
    """How the run continues the conversation."""

    max_new_tokens: int = Field(
        default=50, ge=1, description="Forward passes at most, so generated tokens at most."
    )
    do_sample: bool = Field(default=False, description="Sample; otherwise the likeliest token.")
    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, ge=0, le=1)
    seed: int = Field(default=42, ge=0, lt=2**63)


class Gradients(Strict):
    """The log-probability whose gradient a run keeps."""

    of: Literal["generated", "token"] = Field(
        description="What the run generates, or one token in the place of the first it generates."
    )
    token: str | None = Field(
        default=None, description="For `of: token`: the token's text, with the space before it."
    )

    @model_validator(mode="after")
    def _token_where_it_counts(self) -> Gradients:
        if self.of == "token" and not self.token:
            raise ValueError("`of: token` needs the token's text, such as `token: ' yes'`")
        if self.of == "generated" and self.token is not None:
            raise ValueError("a token goes with `of: token`, not with `of: generated`")
        return self


class Capture(Strict):
    """Which tensors a run keeps."""

    hidden_states: bool = Field(
        default=True, description="hidden_in, hidden_out, embeddings, final_norm."
    )
    attention_weights: bool = Field(default=True, description="Softmax attention weights.")
    qkv: bool = Field(default=True, description="q, k, v and attn_out.")
    mlp: bool = Field(default=True, description="All mlp_* tensors.")
    logits: bool = True
    top_k_probs: int = Field(default=20, ge=0, description="Likeliest tokens listed a step.")
    layers: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] = "all"
    store_dtype: Dtype = Field(default="float16", description="The precision on disk.")
    modules: tuple[str, ...] = Field(
        default=(), description="Modules to capture by name, for an architecture without sites."
    )
    snapshot_positions: Annotated[tuple[Position, ...], Field(min_length=1)] = (
        "generation_prompt",
        "turn_end",
        "content_mean",
    )
    # Left out where there are none, so that a run without has the digest it had before there were any.
    gradients: Gradients | None = Field(
        default=None,
        description="Keep gradients beside the activations.",
        exclude_if=lambda value: value is None,
    )

    @field_validator("layers")
    @classmethod
    def _sorted_layers(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if isinstance(value, str):
            return value
        if not value:
            raise ValueError("an empty list captures nothing: name layers, or write `all`")
        return tuple(sorted(set(value)))

    @field_validator("snapshot_positions")
    @classmethod
    def _unique_positions(cls, value: tuple[Position, ...]) -> tuple[Position, ...]:
        return tuple(dict.fromkeys(value))


class Output(Strict):
    """Where `stratascope run` leaves its runs; a study's always lie in results/runs."""

    dir: str | None = None
    format: Literal["json+npz", "safetensors"] = "safetensors"


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, dict) else value


class Scenario(Strict):
    """One scenario file."""

    name: str = Field(description="The first part of every run's label and folder.")
    model: Model | None = Field(
        default=None, description="Absent in a study: the scenario runs on every checkpoint."
    )
    prompt: Annotated[tuple[Prompt, ...], Field(min_length=1), BeforeValidator(_one_or_many)]
    generation: Generation = Generation()
    capture: Capture = Capture()
    output: Output = Output()
    reference_states: tuple[Reference, ...] = ()

    _name = field_validator("name")(check_name)

    @model_validator(mode="after")
    def _labels_differ(self) -> Scenario:
        labels = [reference.label for reference in self.reference_states]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"reference_states: the label {twice[0]!r} stands twice")
        return self

    @model_validator(mode="after")
    def _labels_are_references(self) -> Scenario:
        known = [reference.label for reference in self.reference_states]
        for i, prompt in enumerate(self.prompt):
            for j, message in enumerate(prompt.messages):
                if known and message.label is not None and message.label not in known:
                    part = f"prompt[{i}]" if len(self.prompt) > 1 else "prompt"
                    near = nearest(message.label, known)
                    remedy = f"did you mean {near!r}?" if near else f"labels: {', '.join(known)}"
                    raise ValueError(
                        f"{part}.messages[{j}].label: {message.label!r} is no label of "
                        f"reference_states; {remedy}"
                    )
        return self


class CheckpointEntry(Strict):
    """One checkpoint of a study; what is left out comes from `defaults.model`."""

    id: str = Field(min_length=1, description="A local folder or a Hugging Face hub id.")
    revision: str | None = None
    dtype: Dtype | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    gguf_file: str | None = None
    trust_remote_code: bool | None = None


class CaptureJobs(Strict):
    """How the capture jobs of a study run; `threads` can change results, so it is the study's."""

    jobs: int = Field(default=1, ge=1, description="Capture jobs for each checkpoint.")
    threads: int = Field(default=2, ge=1, description="CPU threads of a job.")
    memory_mb: int | None = Field(
        default=None, ge=1, description="Memory a job asks the scheduler for; else the estimate's."
    )
    runtime_minutes: int | None = Field(
        default=None, ge=1, description="Time a job asks for; else the estimate's."
    )
    gpus: int | None = Field(
        default=None, ge=1, description="GPUs of a job whose model is spread by `device_map`."
    )


class Limits(Strict):
    """What a job may take; where nothing is said, what is free when it starts."""

    memory_gb: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Memory of the device that the model runs on, in GB (10^9 bytes).",
    )
    disk_gb: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Disk that a job may fill, in GB."
    )


class ReportText(Strict):
    """What the report says of the study; changing it recomputes nothing but the report."""

    title: str = "Stratascope study"
    description: str = ""


class Study(Strict):
    """config/config.yaml."""

    report: ReportText = ReportText()
    checkpoints: dict[str, CheckpointEntry] = Field(
        default_factory=dict, description="Name to model, in the order of training."
    )
    scenarios: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=("scenarios",), description="Folders or files, relative to the study folder."
    )
    defaults: dict[str, object] = Field(
        default_factory=dict,
        description="Scenario keys (but name and prompt) for every scenario; its own value wins.",
    )
    datasets: dict[str, StudyDataset] = Field(
        default_factory=dict, description="Name to labelled texts, whose features are extracted."
    )
    microscope: Microscope = Microscope()
    capture: CaptureJobs = CaptureJobs()
    limits: Limits = Limits()

    @field_validator("scenarios", mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("datasets")
    @classmethod
    def _dataset_names(cls, value: dict[str, StudyDataset]) -> dict[str, StudyDataset]:
        for name in value:
            check_name(name)
        return value

    @field_validator("checkpoints")
    @classmethod
    def _names(cls, value: dict[str, CheckpointEntry]) -> dict[str, CheckpointEntry]:
        for name in value:
            check_checkpoint_name(name)
        return value
