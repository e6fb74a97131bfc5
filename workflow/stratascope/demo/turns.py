"""One exchange of the demo world: what the user tells, and what the assistant answers.

The user's turn is drawn by chance. The reply follows from what was told with no chance in it, so
that it can be learned, and so that greedy replies vary with what they answer.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace

from stratascope.demo.events import EVENTS, Event
from stratascope.demo.feelings import ABSOLUTE, CLOSINGS, FEELINGS, PLURAL_SIGNS, Closing
from stratascope.demo.language import fill, flip, sentence, slots_of
from stratascope.demo.world import (
    DESCRIBED,
    DESCRIPTIONS,
    MEN,
    SUBJECTS,
    THINGS,
    TOPICS,
    TURNING,
    WHEN,
    WOMEN,
    Who,
)

ME = Who("I", "I", "me", "my")
LOUD = ("joy", "anger", "fear", "surprise")  # emotions that may end a sentence with "!"

# The ways to say a feeling, each a list of parts; those that stand twice are twice as likely.
FORMS = (
    "event", "event", "event sign", "event sign", "event denial", "denial event", "event feeling",
    "feeling event", "because", "because", "quote sign", "quote feeling", "quote denial",
    "feeling", "towards", "towards sign", "denial", "sign", "feeling sign",
)  # fmt: skip

# Events that fill a span of time already, or tell of a habit, take no "Yesterday" in front.
_NO_WHEN = re.compile(
    r"\b(always|never|often|suddenly|finally|all|every|hours|by|again|for|any more|like"
    rf"|{'|'.join(THINGS['summer'])})\b"
)
_TIMES = ("Now", *WHEN["past"], *WHEN["present"])
_KEEP_CAPITAL = ("I ", *WOMEN, *MEN)


@dataclass(frozen=True)
class Told:
    """What one user turn told: kept to answer it, and to ask about it later."""

    emotion: str
    past: bool = False
    plural: bool = False
    who: Who = field(default=ME)
    event: Event | None = None
    row: int = 0  # picks among replies
    things: dict[str, str] = field(default_factory=dict)
    adjective: str = ""
    quote: str = ""
    sign: str = ""  # a sign or denial that stands alone
    closing: Closing | None = None
    recalled: str = ""  # the answer to a question about an earlier turn

    def clause(self, past: bool) -> str:
        """The event as the user tells it, without a capital and an end."""
        assert self.event is not None
        template = self.event.past if past else self.event.present
        return fill(template, self.who, self.plural, self.things)


def user_turn(rng: random.Random, told: Told, earlier: list[Told], name: str) -> tuple[str, Told]:
    """The text of a user turn of the emotion and tense in `told`, and all that it told.

    `earlier` are the conversation's turns so far, `name` the user's name or "".
    """
    question, answer = "", ""
    if earlier and rng.random() < 0.15:
        question, answer = _recall(rng, earlier, name)
    if question:
        told = replace(told, adjective=_adjective(rng, told.emotion), recalled=answer)
        sentences = [sentence(_feeling(rng, told)), question]
    else:
        sentences, told = _statements(rng, told, name)
        if rng.random() < 0.25:
            closing = rng.choice([fit for fit in CLOSINGS if _fits(fit, told)])
            told = replace(told, closing=closing)
            sentences.append(fill(closing.text, told.who, told.plural, {}))
    if earlier and earlier[-1].emotion not in (told.emotion, "neutral") and rng.random() < 0.25:
        turning = TURNING[:1] if sentences[0].startswith(_TIMES) else TURNING
        sentences[0] = f"{rng.choice(turning)} {_lower(sentences[0])}"
    return " ".join(sentences), told


def reply(told: Told) -> str:
    """The assistant's answer to what was told."""
    if told.recalled:
        return told.recalled
    feeling = FEELINGS[told.emotion]
    who = Who(*(flip(text) for text in (told.who.text, told.who.he, told.who.him, told.who.his)))
    things = {slot: flip(thing) for slot, thing in told.things.items()}
    things |= {"adj": flip(told.adjective), "are": "were" if told.past else "are"}
    things |= {"quote": told.quote, "advice": feeling.advice, "event": _echo(told)}

    def say(templates: tuple[str, ...]) -> str:
        return sentence(fill(templates[told.row % len(templates)], who, told.plural, things))

    if told.adjective and (told.event is None or told.row % 2):
        first = say(feeling.named)
    elif told.sign or "mood" in things:
        first = say(("I hear that {event}.",))
    elif told.quote:
        first = say(feeling.to_quote)
    else:
        first = say(feeling.echoes)
    if told.closing is not None:
        return f"{first} {say((told.closing.answer,))}"
    if told.event is not None:
        return f"{first} {say((told.event.remark,))}"
    return first if told.quote else f"{first} {say(feeling.plain)}"


def _echo(told: Told) -> str:
    text = told.clause(told.past) if told.event is not None else _lower(told.sign)
    return flip(text)


def _lower(text: str) -> str:
    if text.startswith(('"', *_KEEP_CAPITAL)) or text == "I":
        return text
    return text[:1].lower() + text[1:]


def _subject(rng: random.Random, kinds: str, name: str) -> tuple[Who, bool]:
    """A subject of one of the kinds that is not the user's own name, and whether it is plural."""
    plural = rng.random() < 0.5
    choices = SUBJECTS[rng.choice(kinds.split())][plural]
    return rng.choice([who for who in choices if not name or name not in who.text]), plural


def _happen(rng: random.Random, told: Told, name: str) -> Told:
    """Add an event of the told emotion, or a person who has that feeling."""
    row = rng.choice([row for row, event in enumerate(EVENTS) if event.emotion == told.emotion])
    event = EVENTS[row]
    things = {}
    if rng.random() < 0.1:
        remark = FEELINGS[told.emotion].about_other
        event = Event(
            told.emotion, "person", "{who} <was/were> {mood}", "{who} <is/are> {mood}", remark
        )
        things["mood"] = _adjective(rng, told.emotion)
    for slot in slots_of(event.past + event.present):
        if slot in THINGS and slot not in things:
            described = slot in DESCRIBED and rng.random() < 0.25
            thing = rng.choice(THINGS[slot])
            things[slot] = f"{rng.choice(DESCRIPTIONS)} {thing}" if described else thing
    who, plural = _subject(rng, event.subjects, name)
    return replace(told, event=event, row=row, things=things, who=who, plural=plural)


def _adjective(rng: random.Random, emotion: str) -> str:
    return rng.choice(FEELINGS[emotion].adjectives + FEELINGS[emotion].phrases)


def _feeling(rng: random.Random, told: Told) -> str:
    """The told feeling: "I was so sad"."""
    word = told.adjective.split()[0]
    degree = rng.choice(("", "", "so ", "very ", "really "))
    if word not in FEELINGS[told.emotion].adjectives:
        degree = ""
    if degree == "very " and word in ABSOLUTE:
        degree = ""
    verb = rng.choice(("was", "felt") if told.past else ("am", "feel"))
    now = "" if told.past or rng.random() < 0.8 else "now "
    return f"{now}I {verb} {degree}{told.adjective}"


def _event(rng: random.Random, told: Told) -> str:
    clause = told.clause(told.past)
    if rng.random() < 0.4 and not _NO_WHEN.search(clause):
        clause = f"{rng.choice(WHEN['past' if told.past else 'present'])} {clause}"
    return clause


def _sign(rng: random.Random, told: Told, pairs: tuple[tuple[str, str], ...]) -> str:
    """A sign or a denial of the feeling; those that speak of somebody need somebody."""
    if not (_of_person(told) or (told.event is not None and "pet" in told.event.subjects.split())):
        pairs = tuple(pair for pair in pairs if "{him}" not in pair[0])
    return fill(rng.choice(pairs)[0 if told.past else 1], told.who, told.plural, {})


def _quoted(rng: random.Random, told: Told) -> str:
    verb = "said" if told.past else ("say" if told.plural else "says")
    if rng.random() < 0.7:
        return f'{sentence(told.who.text, "")} {verb}, "{told.quote}"'
    quote = told.quote[:-1] + "," if told.quote.endswith(".") else told.quote
    return f'"{quote}" {verb} {told.who.text}.'


def _statements(rng: random.Random, told: Told, name: str) -> tuple[list[str], Told]:
    """The sentences of one user turn in one of the `FORMS`, and what they told."""
    feeling = FEELINGS[told.emotion]
    form = rng.choice(FORMS)
    parts = form.split()
    if "quote" in parts:
        who, plural = _subject(rng, "person", name)
        row = rng.randrange(len(feeling.quotes))
        told = replace(told, who=who, plural=plural, quote=feeling.quotes[row], row=row)
    elif "event" in parts or form == "because":
        told = _happen(rng, told, name)
    if "towards" in parts:
        row = rng.randrange(len(TOPICS))
        adjective = f"{rng.choice(feeling.towards)} {TOPICS[row]}"
        told = replace(told, adjective=adjective, row=row)
    elif "feeling" in parts or form == "because":
        told = replace(told, adjective=_adjective(rng, told.emotion))
    if form == "because":
        return [sentence(f"{_feeling(rng, told)} because {told.clause(told.past)}")], told
    said = [_part(rng, told, part) for part in parts]
    if form in ("sign", "denial"):
        told = replace(told, sign=said[0], plural=said[0].startswith(PLURAL_SIGNS))
    if len(said) == 2 and "quote" not in parts and rng.random() < 0.25:
        said = [f"{said[0]}, and {_lower(said[1])}"]
    end = "!" if told.emotion in LOUD and rng.random() < 0.3 else "."
    return [sentence(text, end) for text in said], told


def _part(rng: random.Random, told: Told, part: str) -> str:
    feeling = FEELINGS[told.emotion]
    if part == "event":
        return _event(rng, told)
    if part == "quote":
        return _quoted(rng, told)
    if part == "sign":
        return _sign(rng, told, feeling.signs)
    if part == "denial":
        return _sign(rng, told, feeling.denials)
    return _feeling(rng, told)


def _recall(rng: random.Random, earlier: list[Told], name: str) -> tuple[str, str]:
    """A question about an earlier turn and its answer, or two "" where there is none to ask."""
    asks = [("Do you remember my name?", f"Of course, your name is {name}.")] if name else []
    for told in earlier:
        who = told.who.text
        if told.quote:
            asks.append(
                (f"Do you remember what {who} said?", f'Yes, {flip(who)} said, "{told.quote}"')
            )
        elif told.adjective and told.event is not None:
            because = f"{told.adjective} because {flip(told.clause(past=True))}"
            asks.append(
                (f"Do you remember why I was {told.adjective}?", f"Yes, you were {because}.")
            )
    return rng.choice(asks) if asks else ("", "")


def _of_person(told: Told) -> bool:
    """Whether the turn speaks of another person, whom "him" may mean."""
    of_persons = told.event is None or "person" in told.event.subjects.split()
    return told.who.text not in ("I", "we") and of_persons


def _fits(closing: Closing, told: Told) -> bool:
    return told.emotion in closing.emotions and (not closing.needs_who or _of_person(told))
