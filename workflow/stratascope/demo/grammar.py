"""A generative grammar of multi-turn chat conversations with labels, in pure Python.

The user tells what happens and how it feels, and swings between emotions; the assistant answers,
fits the emotion, and tells part of the user's message again, so that a model which learns these
conversations has to read. The tables are in `world`, `events` and `feelings`; `turns` combines
them into one exchange, and this file exchanges into conversations.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from stratascope.demo.feelings import EMOTIONS
from stratascope.demo.language import asks, is_negated, shorten
from stratascope.demo.turns import Told, reply, user_turn
from stratascope.demo.world import (
    GREETINGS,
    INTRODUCTIONS,
    MEN,
    SYSTEM_DO,
    SYSTEM_HOW,
    SYSTEM_WHO,
    WOMEN,
)
from stratascope.errors import StratascopeError


@dataclass(frozen=True)
class Labels:
    """What is true of one message.

    `emotion` is one of `feelings.EMOTIONS`, or "neutral" for a system message and a mere greeting.
    `tense` ("past", "present") is that of all the user's statements. `number` ("singular",
    "plural") is that of the subject: of the event or of the quoted person, else of the first
    statement. An assistant's message has the emotion, tense and number of what it answers.
    `negation` is true where a negation word (not, no, never, nothing, nobody, cannot, n't) occurs,
    `question` where a question mark stands outside of quotes, `quoted` where somebody's words stand
    in quotes.
    """

    emotion: str
    negation: bool
    tense: str
    number: str
    question: bool
    quoted: bool


@dataclass(frozen=True)
class Message:
    """One message: role ("system", "user", "assistant"), its text, its labels."""

    role: str
    content: str
    labels: Labels


@dataclass(frozen=True)
class Conversation:
    """Messages in order: an optional system message, then user and assistant in turn."""

    messages: tuple[Message, ...]


def generate(seed: int, count: int) -> Iterator[Conversation]:
    """`count` conversations. The same seed gives the same ones, and a longer run begins with them.

    Raises StratascopeError where `count` is negative.
    """
    if count < 0:
        raise StratascopeError(f"count is {count}; it must be 0 or more conversations")
    return _generate(seed, count)


def _generate(seed: int, count: int) -> Iterator[Conversation]:
    rng = random.Random(f"stratascope demo {seed}")  # noqa: S311 - repeatable, not secret
    for _ in range(count):
        yield conversation(rng)


def conversation(rng: random.Random) -> Conversation:
    """One conversation, drawn with `rng`."""
    messages = [_system(rng)] if rng.random() < 0.5 else []
    name = rng.choice(WOMEN + MEN) if rng.random() < 0.3 else ""
    contracted = rng.random() < 0.25
    steady = rng.random() < 0.15
    hello = rng.choice(INTRODUCTIONS).format(name=name) if name else ""
    welcome = f"Hello {name}!" if name else ""
    told: list[Told] = []
    if rng.random() < 0.1:
        told.append(Told("neutral"))
        messages += _exchange(
            hello or rng.choice(GREETINGS), f"{welcome or 'Hello!'} How do you feel?", told[0]
        )
        hello = welcome = ""
    emotion = rng.choice(EMOTIONS)
    for turn in range(_turns(rng)):
        if turn and not steady and rng.random() < 0.8:
            emotion = rng.choice([other for other in EMOTIONS if other != emotion])
        text, tells = user_turn(rng, Told(emotion, past=rng.random() < 0.5), told, name)
        text = shorten(text) if contracted else text
        messages += _exchange(f"{hello} {text}".strip(), f"{welcome} {reply(tells)}".strip(), tells)
        told.append(tells)
        hello = welcome = ""
    return Conversation(tuple(messages))


def _turns(rng: random.Random) -> int:
    """How many exchanges: mostly one to seven, sometimes up to eighteen."""
    return rng.randint(8, 18) if rng.random() < 0.08 else rng.randint(1, 7)


def _exchange(text: str, answer: str, told: Told) -> list[Message]:
    return [
        Message("user", text, _labels(text, told)),
        Message("assistant", answer, _labels(answer, told)),
    ]


def _system(rng: random.Random) -> Message:
    text = f"You are a {rng.choice(SYSTEM_HOW)} {rng.choice(SYSTEM_WHO)}."
    if rng.random() < 0.7:
        text = f"{text} {rng.choice(SYSTEM_DO)}"
    return Message("system", text, _labels(text, Told("neutral")))


def _labels(text: str, told: Told) -> Labels:
    return Labels(
        emotion=told.emotion,
        negation=is_negated(text),
        tense="past" if told.past else "present",
        number="plural" if told.plural else "singular",
        question=asks(text),
        quoted='"' in text,
    )
