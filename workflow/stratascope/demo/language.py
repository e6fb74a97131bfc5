"""The little English that the grammar needs: verbs, "my" to "your", contractions, sentences."""

from __future__ import annotations

import re

from stratascope.demo.world import Who

_SLOT = re.compile(r"\{(\w+)\}")
_VERB = re.compile(r"<(\w+)/(\w+)>")
_ARTICLE = re.compile(r"\ba (?=[aeiou])")
_FIRST_PERSON = {"is": "am", "was": "was"}
_NEGATION = re.compile(r"\b(not|no|never|nothing|nobody|cannot)\b|n't\b", re.IGNORECASE)

_FLIP = {
    "I am": "you are", "I was": "you were", "I": "you", "me": "you", "my": "your",
    "My": "your", "we": "you", "We": "you", "us": "you", "our": "your",
}  # fmt: skip
_FLIP_WORDS = re.compile(r"\b(" + "|".join(sorted(_FLIP, key=len, reverse=True)) + r")\b")

_SHORT = {
    "I am": "I'm", "do not": "don't", "does not": "doesn't", "did not": "didn't",
    "is not": "isn't", "are not": "aren't", "was not": "wasn't", "were not": "weren't",
    "cannot": "can't", "could not": "couldn't", "It is": "It's",
}  # fmt: skip
_SHORT_WORDS = re.compile(r"\b(" + "|".join(_SHORT) + r")\b")


def fill(template: str, who: Who, plural: bool, things: dict[str, str]) -> str:
    """Fill a template of `events.py`: slots, then verb forms that fit the subject, then "an"."""
    slots = {"who": who.text, "he": who.he, "him": who.him, "his": who.his, **things}
    text = _SLOT.sub(lambda match: slots[match[1]], template)

    def verb(match: re.Match[str]) -> str:
        if who.text == "I" and match[1] in _FIRST_PERSON:
            return _FIRST_PERSON[match[1]]
        return match[2] if plural or who.text in ("I", "you") else match[1]

    return _ARTICLE.sub("an ", _VERB.sub(verb, text))


def slots_of(template: str) -> list[str]:
    """The slot names of a template, in order."""
    return _SLOT.findall(template)


def flip(text: str) -> str:
    """Turn the user's words towards the user: "my dog saw me" becomes "your dog saw you"."""
    return _FLIP_WORDS.sub(lambda match: _FLIP[match[0]], text)


def shorten(text: str) -> str:
    """Contract the usual pairs: "I do not" becomes "I don't"."""
    return _SHORT_WORDS.sub(lambda match: _SHORT[match[0]], text)


def sentence(text: str, end: str = ".") -> str:
    """Begin with a capital and end with `end`, unless the text has an end of its own."""
    text = text[0].upper() + text[1:]
    return text if text[-1] in '.!?"' else text + end


def is_negated(text: str) -> bool:
    """Whether a negation word occurs: not, no, never, nothing, nobody, cannot, n't."""
    return _NEGATION.search(text) is not None


def asks(text: str) -> bool:
    """Whether a question mark stands outside of quotes."""
    return "?" in re.sub(r'"[^"]*"', "", text)
