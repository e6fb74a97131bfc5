"""Grading by hand-made cases."""

from __future__ import annotations

import pytest

from stratascope.study.grading import contains, is_exactly, likeliest, normal_form


@pytest.mark.parametrize(
    ("said", "accepted", "right"),
    [
        ("Paris", ["Paris"], True),
        ("  paris.\n", ["Paris"], True),
        ("PARIS!!", ["paris?"], True),
        ("New   York", ["new york"], True),
        ("Straße", ["STRASSE"], True),
        ("Zu\u0308rich", ["Z\u00fcrich"], True),
        ("Lyon", ["Paris", "Lyon"], True),
        ("Paris, France", ["Paris"], False),
        ("The Paris", ["Paris"], False),
        ('"Paris"', ["Paris"], False),
        ("Pari s", ["Paris"], False),
        ("", ["Paris"], False),
        ("3.5", ["35"], False),
    ],
)
def test_exact_answers(said: str, accepted: list[str], right: bool) -> None:
    """Case, white space and end marks do not count; every other character does."""
    assert is_exactly(said, accepted) is right


@pytest.mark.parametrize(
    ("said", "accepted", "right"),
    [
        ("Of course, your name is Nora.", ["Nora"], True),
        ("It is NORA, of course!", ["nora."], True),
        ("Nora's name", ["Nora"], True),
        ("I know.", ["no"], False),
        ("A joyful day", ["joy"], False),
        ("He said: take a deep\nbreath, then go.", ["Take a deep breath"], True),
        ("What is 2+2? 4", ["4"], True),
        ("What is 2+2? 14", ["4"], False),
        ("a (b) c", ["(b)"], True),
        ("no answer here", ["yes", "answer"], True),
        ("", ["Nora"], False),
    ],
)
def test_contained_answers(said: str, accepted: list[str], right: bool) -> None:
    """An answer counts anywhere in the text, but only as whole words."""
    assert contains(said, accepted) is right


def test_a_normal_form_is_its_own_normal_form() -> None:
    """Taking the normal form twice changes nothing, so that it is one."""
    for text in ("  Ὀδυσσεύς!? ", "İstanbul", "ẞ. . ", "a\u00a0b\tc", "…", "x.,;:!? y .,;:!? "):
        assert normal_form(normal_form(text)) == normal_form(text), text


def test_ties_go_to_the_first() -> None:
    """Of equal scores the first one wins, wherever the largest stands."""
    assert likeliest([-2.0, -1.0, -1.0]) == 1
    assert likeliest([-1.0, -1.0, -2.0]) == 0
    assert likeliest([float("-inf"), float("-inf")]) == 0
    with pytest.raises(ValueError, match="empty"):
        likeliest([])
