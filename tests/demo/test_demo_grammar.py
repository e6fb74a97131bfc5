"""The grammar of the demo conversations: repeatable, varied, well formed, and labelled truly."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest

from stratascope.demo.events import EVENTS
from stratascope.demo.feelings import EMOTIONS, FEELINGS
from stratascope.demo.grammar import Conversation, generate
from stratascope.demo.language import fill, flip, shorten
from stratascope.demo.world import SUBJECTS, THINGS, Who
from stratascope.errors import StratascopeError


@pytest.fixture(scope="module")
def talks() -> list[Conversation]:
    return list(generate(11, 1500))


def test_same_seed_same_conversations() -> None:
    """A seed determines the conversations, a longer run begins with a shorter, seeds differ."""
    assert list(generate(3, 20)) == list(generate(3, 20))
    assert list(generate(3, 8)) == list(generate(3, 20))[:8]
    assert list(generate(3, 8)) != list(generate(4, 8))


def test_negative_count_is_an_error() -> None:
    """A count below zero is refused at the call, and the message names it."""
    with pytest.raises(StratascopeError, match="count is -1"):
        generate(0, -1)


def test_roles_alternate(talks: list[Conversation]) -> None:
    """After an optional system message, user and assistant take turns, and the user begins."""
    for talk in talks:
        roles = [message.role for message in talk.messages]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert turns


def test_text_varies(talks: list[Conversation]) -> None:
    """Most user turns occur once, and replies vary, though they follow from the turns."""
    users = [m.content for talk in talks for m in talk.messages if m.role == "user"]
    replies = [m.content for talk in talks for m in talk.messages if m.role == "assistant"]
    assert len(set(users)) > 0.85 * len(users)
    assert len(set(replies)) > 0.5 * len(replies)


def test_labels_agree_with_the_text(talks: list[Conversation]) -> None:
    """Negation, question and quoted are true exactly where words and marks say so."""
    negative = {"not", "no", "never", "nothing", "nobody", "cannot"}
    for message in (message for talk in talks for message in talk.messages):
        words = message.content.lower().replace('"', " ").split()
        bare = {word.strip(".,!?;:") for word in words}
        assert message.labels.negation == (
            bool(bare & negative) or any(word.endswith("n't") for word in bare)
        ), message
        parts = message.content.split('"')
        assert message.labels.quoted == (len(parts) > 1), message
        assert message.labels.question == any("?" in part for part in parts[::2]), message


def test_tense_agrees_with_the_verbs(talks: list[Conversation]) -> None:
    """A feeling is told with "was" or "felt" in the past and "am" or "feel" in the present."""
    seen = Counter[str]()
    told = r"\bI (?:was|felt|am|feel|'m)\b (?:so |very |really )?(\w+)"
    for message in (message for talk in talks for message in talk.messages):
        if message.role != "user" or "remember" in message.content:
            continue
        own = re.sub(r'"[^"]*"', "", message.content)
        own = re.sub(r"^(Hi, I am \w+|Hello! My name is \w+)\.", "", own)
        past = re.search(r"\bI (was|felt)\b", own)
        present = re.search(r"\bI (am|feel)\b", own)
        if re.search(told, own) and bool(past) != bool(present):
            assert message.labels.tense == ("past" if past else "present"), message
            seen[message.labels.tense] += 1
    assert min(seen["past"], seen["present"]) > 300


def test_number_agrees_with_the_verb(talks: list[Conversation]) -> None:
    """A message of one statement has the number of its verb."""
    seen = Counter[str]()
    for message in (message for talk in talks for message in talk.messages):
        match = re.match(r"(?:My|We|The)(?: \w+)? (is|are|was|were) [^.!?,]*[.!]$", message.content)
        if message.role == "user" and match:
            number = "singular" if match[1] in ("is", "was") else "plural"
            assert message.labels.number == number, message
            seen[number] += 1
    assert min(seen["singular"], seen["plural"]) > 30


def test_emotion_agrees_with_the_named_feeling(talks: list[Conversation]) -> None:
    """A user who names a feeling without denying it has the label of that feeling."""
    emotion_of = {word: emotion for emotion, table in FEELINGS.items() for word in table.adjectives}
    seen = Counter[str]()
    for message in (message for talk in talks for message in talk.messages):
        match = re.match(r"I (?:was|felt|am|feel) (?:so |very |really )?(\w+)", message.content)
        if message.role == "user" and match and match[1] in emotion_of:
            assert message.labels.emotion == emotion_of[match[1]], message
            seen[message.labels.emotion] += 1
    assert set(seen) == set(EMOTIONS)


def test_no_label_gives_another_away(talks: list[Conversation]) -> None:
    """Each emotion comes in both tenses and numbers, with and without negation and question."""
    users = [m.labels for talk in talks for m in talk.messages if m.role == "user"]
    for emotion in EMOTIONS:
        own = [labels for labels in users if labels.emotion == emotion]
        assert 0.09 < len(own) / len(users) < 0.16
        assert 0.4 < sum(labels.tense == "past" for labels in own) / len(own) < 0.6
        assert 0.2 < sum(labels.number == "plural" for labels in own) / len(own) < 0.6
        assert 0.1 < sum(labels.negation for labels in own) / len(own) < 0.6
        assert 0.1 < sum(labels.question for labels in own) / len(own) < 0.6


def test_emotions_swing(talks: list[Conversation]) -> None:
    """Most neighbouring user turns differ in emotion, and some conversations stay steady."""
    changes = []
    for talk in talks:
        felt = [m.labels.emotion for m in talk.messages if m.role == "user"]
        changes += [a != b for a, b in pairwise(felt) if a != "neutral"]
    assert 0.55 < sum(changes) / len(changes) < 0.85


def test_replies_take_up_what_the_user_said(talks: list[Conversation]) -> None:
    """Most replies to a named thing or person say that word again."""
    words = {thing.split()[-1] for table in THINGS.values() for thing in table}
    taken_up = []
    for talk in talks:
        for user, answer in pairwise(talk.messages):
            said = set(re.findall(r"\w+", user.content)) & words
            if user.role == "user" and said:
                taken_up.append(bool(said & set(re.findall(r"\w+", answer.content))))
    assert sum(taken_up) / len(taken_up) > 0.7


def test_every_event_fills_in_both_tenses_and_numbers() -> None:
    """No event has a slot or verb form that stays unfilled, for any kind of its subjects."""
    for event in EVENTS:
        assert event.emotion in FEELINGS
        for kind in event.subjects.split():
            for plural, who in enumerate(group[0] for group in SUBJECTS[kind]):
                for template in (event.past, event.present, event.remark):
                    things = {slot: table[0] for slot, table in THINGS.items()}
                    text = fill(template, who, bool(plural), things)
                    assert not re.search(r"[<>{}/]", text)


@pytest.mark.parametrize(
    ("who", "plural", "expected"),
    [
        (Who("I", "I", "me", "my"), False, "I am here and I was there with my dog"),
        (Who("we", "we", "us", "our"), True, "we are here and we were there with our dog"),
        (Who("Tom", "he", "him", "his"), False, "Tom is here and he was there with his dog"),
    ],
)
def test_verbs_fit_their_subject(who: Who, plural: bool, expected: str) -> None:
    """Verb forms and pronouns follow the subject, the first person included."""
    template = "{who} <is/are> here and {he} <was/were> there with {his} dog"
    assert fill(template, who, plural, {}) == expected


def test_flip_and_shorten() -> None:
    """Flipping turns first persons to second ones, verbs included; contractions keep the sense."""
    assert flip("I was in my room, and we saw me") == "you were in your room, and you saw you"
    assert flip("Imagine my Italy") == "Imagine your Italy"
    assert shorten("I am sad. She cannot. It does not.") == "I'm sad. She can't. It doesn't."
