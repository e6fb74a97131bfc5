"""Scenario files: a superset of Activation Lab's, and nothing misspelt."""

from __future__ import annotations

import pytest

from stratascope.errors import StratascopeError
from stratascope.study.names import check_name
from stratascope.study.schema import Scenario, Study
from stratascope.study.validate import validate
from stratascope.study.yamlfile import parse_mapping

ACTIVATION_LAB = """\
name: my_experiment
model:
  id: Qwen/Qwen2.5-3B-Instruct
  dtype: float16
  device: auto
  gguf_file: null
  trust_remote_code: false
prompt:
  run_at_each_message: false
  messages:
    - role: system
      content: "You are a helpful assistant"
    - role: user
      content: "Hello, how are you?"
generation:
  max_new_tokens: 50
  do_sample: false
  temperature: 1.0
  top_k: null
  top_p: null
  seed: 42
capture:
  hidden_states: true
  attention_weights: true
  qkv: true
  mlp: true
  logits: true
  top_k_probs: 20
  layers: all
  store_dtype: float16
output:
  dir: ./runs
  format: json+npz
reference_states:
  - label: love
    messages:
      - role: user
        content: "I adore you deeply."
"""


def test_activation_labs_file_is_accepted_and_its_defaults_are_ours() -> None:
    """Every key of seed scenario files is known, and leaving them out means the same."""
    full = validate(Scenario, parse_mapping(ACTIVATION_LAB, "a.yaml"), "a.yaml")
    short = validate(
        Scenario,
        {
            "name": full.name,
            "model": {"id": "Qwen/Qwen2.5-3B-Instruct"},
            "prompt": {"messages": [m.model_dump() for m in full.prompt[0].messages]},
            "output": {"dir": "./runs", "format": "json+npz"},
            "reference_states": [r.model_dump() for r in full.reference_states],
        },
        "b.yaml",
    )
    assert full == short


def test_a_list_of_prompts_is_accepted() -> None:
    """`prompt` may be a list, one run for each."""
    prompt = {"messages": [{"role": "user", "content": "x"}]}
    scenario = validate(Scenario, {"name": "n", "prompt": [prompt, prompt]}, "a.yaml")
    assert len(scenario.prompt) == 2


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("generation", {"max_new_tokens": 0}, "generation.max_new_tokens"),
        ("generation", {"temperature": float("nan")}, "generation.temperature"),
        ("generation", {"top_p": 1.5}, "generation.top_p"),
        ("capture", {"layers": [0, -1]}, "capture.layers"),
        ("capture", {"layers": "some"}, "capture.layers"),
        ("capture", {"store_dtype": "int8"}, "capture.store_dtype"),
        ("capture", {"snapshot_positions": []}, "capture.snapshot_positions"),
        ("capture", {"hiden_states": True}, "did you mean `hidden_states`?"),
        ("model", {"dtype": "float16"}, "model.id: missing"),
        ("nothing_like_it_at_all", 1, "known here: capture, generation"),
        (
            "reference_states",
            [{"label": "a", "messages": [{"role": "user", "content": "x"}]}] * 2,
            "stands twice",
        ),
    ],
)
def test_a_wrong_value_is_named(key: str, value: object, said: str) -> None:
    """Each wrong value gives a line with the file, the key and what would be right."""
    data = {"name": "n", "prompt": {"messages": [{"role": "user", "content": "x"}]}, key: value}
    with pytest.raises(StratascopeError) as caught:
        validate(Scenario, data, "a.yaml")
    assert str(caught.value).startswith("a.yaml: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "a/b", "a\\b", "a@b", "-x", "a\n", "x" * 101]
)
def test_names_that_could_leave_their_folder_are_refused(name: str) -> None:
    """No scenario name or label can escape its place or confuse a label."""
    with pytest.raises(ValueError, match="cannot be a name"):
        check_name(name)


def test_the_json_schemas_forbid_unknown_keys() -> None:
    """Editors get schemas that mark a misspelt key, too."""
    for model in (Scenario, Study):
        assert model.model_json_schema()["additionalProperties"] is False
