"""Reading YAML strictly and safely."""

from __future__ import annotations

import pytest

from stratascope.errors import StratascopeError
from stratascope.study.yamlfile import parse_mapping


def bomb(levels: int) -> str:
    first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"
    others = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join([first, *others])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("- a\n- b\n", "a list"),
        ("just text", "a str"),
        ("name: [1, 2", "line 2"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' stands twice"),
        ("1: x\n", "the key 1 must be text"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("a: &a [*a]\n", "contains itself"),
        (bomb(9), "aliases expand"),
    ],
)
def test_bad_yaml_is_one_line_with_the_place(text: str, said: str) -> None:
    """Every way a YAML file can be wrong gives one line that names the file and the place."""
    with pytest.raises(StratascopeError) as caught:
        parse_mapping(text, "s.yaml")
    message = str(caught.value)
    assert message.startswith("s.yaml: ")
    assert said in message
    assert "\n" not in message


def test_honest_aliases_and_merges_work() -> None:
    """Anchors that a person would write are not mistaken for a bomb or for a repeated key."""
    text = "base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\nlist: [*b, *b]\n"
    data = parse_mapping(text, "s.yaml")
    assert data["more"] == {"x": 1, "y": 3}
    assert data["list"] == [{"x": 1, "y": 2}] * 2


def test_deep_nesting_is_refused_in_words() -> None:
    """A file nested thousands deep is an error, not a crash."""
    with pytest.raises(StratascopeError):
        parse_mapping("a: " + "[" * 5000 + "]" * 5000, "s.yaml")
