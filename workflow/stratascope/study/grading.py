"""When an answer is right: the rules by which texts are graded. Pure text, so that anyone can check.

Two texts are the same here if they agree in their normal form: Unicode NFC, letter case folded, every
run of white space one space, none around it, and no punctuation ``. , ; : ! ?`` at the end. Nothing
else is taken away: articles, quotes and inner punctuation count (unlike in SQuAD's normal form,
Rajpurkar et al., 2016, which is made for English spans).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping

_END = ".,;:!? "


def normal_form(text: str) -> str:
    """The text as grading compares it; empty for a text of white space and end marks alone."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split()).rstrip(_END)


def is_exactly(said: str, accepted: Iterable[str]) -> bool:
    """Whether ``said`` is one of the accepted answers, in normal form."""
    return normal_form(said) in {normal_form(answer) for answer in accepted}


def contains(said: str, accepted: Iterable[str]) -> bool:
    """Whether an accepted answer stands in ``said`` as whole words, both in normal form.

    ``no`` does not stand in ``know``, nor ``joy`` in ``joyful``.
    """
    text = normal_form(said)
    return any(
        re.search(rf"(?<!\w){re.escape(normal_form(answer))}(?!\w)", text) is not None
        for answer in accepted
    )


# How a generated text is graded, by the name that `grade` gives it. A multiple choice is graded by the
# log-probabilities of its choices instead: see `likeliest`.
GRADES: Mapping[str, Callable[[str, Iterable[str]], bool]] = {
    "exact": is_exactly,
    "contains": contains,
}


def likeliest(scores: Iterable[float]) -> int:
    """The place of the largest score; of equal ones the first, so that a tie has one outcome.

    Raises:
        ValueError: no scores.
    """
    listed = list(scores)
    return max(range(len(listed)), key=lambda i: (listed[i], -i))
