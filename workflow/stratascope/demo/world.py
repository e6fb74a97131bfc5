"""The small world that the demo conversations are about: who is in it, and which things.

Plain tables. A new person, thing or place is one new entry; `events.py` refers to the tables by
name. Everything is written as the user says it ("my sister"); `language.flip` turns it into what
the assistant says ("your sister").
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Who:
    """A subject: its words, and its pronouns (he, him, his)."""

    text: str
    he: str = "it"
    him: str = "it"
    his: str = "its"


WOMEN = ("Anna", "Maria", "Clara", "Emma", "Julia", "Nora", "Lucy", "Rosa", "Ella", "Ruth")
MEN = ("Tom", "Paul", "Max", "Leo", "Ben", "David", "Peter", "Simon", "Oscar", "Felix")

_SHE = ("she", "her", "her")
_HE = ("he", "him", "his")
_THEY = ("they", "them", "their")

_WOMEN_OF_MINE = (
    "my sister", "my mother", "my grandmother", "my aunt", "my daughter", "my wife",
)  # fmt: skip
_MEN_OF_MINE = (
    "my brother", "my father", "my grandfather", "my uncle", "my son", "my husband",
)  # fmt: skip
_OTHERS_OF_MINE = ("my neighbour", "my teacher", "my cousin", "my boss")

_PERSONS = (
    *(Who(text, *_SHE) for text in _WOMEN_OF_MINE),
    *(Who(text, *_HE) for text in _MEN_OF_MINE),
    *(Who(text, *_THEY) for text in _OTHERS_OF_MINE),
    *(Who(name, *_SHE) for name in WOMEN),
    *(Who(f"my friend {name}", *_SHE) for name in WOMEN[:5]),
    *(Who(name, *_HE) for name in MEN),
    *(Who(f"my friend {name}", *_HE) for name in MEN[:5]),
)
_PEOPLE = (
    *(
        Who(text, *_THEY)
        for text in (
            "my parents", "my sisters", "my brothers", "my friends", "my children",
            "my neighbours", "my cousins", "my grandparents", "my teachers",
        )
    ),
    *(Who(f"{a} and {b}", *_THEY) for a, b in zip(WOMEN, MEN, strict=True)),
    *(Who(f"{a} and {b}", *_THEY) for a, b in zip(MEN[3:], WOMEN, strict=False)),
)  # fmt: skip


def _things(*texts: str) -> tuple[Who, ...]:
    return tuple(Who(text) for text in texts)


def _many(*texts: str) -> tuple[Who, ...]:
    return tuple(Who(text, *_THEY) for text in texts)


# kind of subject -> (singular ones, plural ones)
SUBJECTS: dict[str, tuple[tuple[Who, ...], tuple[Who, ...]]] = {
    "I": ((Who("I", "I", "me", "my"),), (Who("we", "we", "us", "our"),)),
    "person": (_PERSONS, _PEOPLE),
    "pet": (
        _things("my dog", "my cat", "my horse", "my rabbit"),
        _many("my dogs", "my cats", "my horses", "my rabbits"),
    ),
    "storm": (_things("the storm", "the wind"), _many("the waves", "the dark clouds")),
    "rain": (_things("the rain", "the snow"), _many("the leaves", "the snowflakes")),
    "flower": (_things("the rose", "the apple tree"), _many("the roses", "the tulips")),
    "letter": (_things("a letter", "a parcel"), _many("two letters", "two parcels")),
    "train": (_things("the train", "the bus"), _many("the trains", "the buses")),
    "beast": (_things("a wolf", "a stranger"), _many("two wolves", "two strangers")),
    "day": (_things("the day", "the week"), _many("the days", "the weeks")),
}

# name of a slot in the events -> what may fill it
THINGS: dict[str, tuple[str, ...]] = {
    "subject": ("history", "music", "English", "driving", "piano"),
    "prize": ("the race", "the game", "first prize", "the chess match"),
    "work": ("bakery", "library", "hospital", "school", "bookshop", "theatre"),
    "cake": ("chocolate cake", "apple cake", "birthday cake", "lemon cake"),
    "soup": ("soup", "bread", "pancakes", "rice"),
    "room": ("kitchen", "garden", "living room", "hall"),
    "dark": ("cellar", "attic", "garden", "hall"),
    "item": ("ring", "key", "phone", "watch", "coat", "umbrella"),
    "art": ("painting", "song", "book", "poem", "dress"),
    "dest": ("sea", "mountains", "island", "lake", "city"),
    "party": ("party", "wedding", "concert", "dinner", "picnic"),
    "dear_thing": ("piano", "house", "boat", "violin"),
    "fragile": ("cup", "window", "guitar", "bicycle", "vase"),
    "lie": ("money", "letter", "party", "exam", "job"),
    "private": ("diary", "notebook", "letter"),
    "fault": ("mistake", "accident", "broken window", "mess"),
    "cloth": ("shoes", "hat", "scarf", "coat"),
    "noise": ("footsteps", "a strange noise", "a voice", "a scream"),
    "wild": ("forest", "fog", "city", "mountains"),
    "dream": ("a wolf", "a fire", "a flood", "a spider", "a snake"),
    "crowd": ("school", "town", "family", "class"),
    "vehicle": ("lift", "train", "tunnel", "car"),
    "water": ("lake", "river", "sea", "fire", "window"),
    "tea": ("tea", "warm milk", "coffee", "hot chocolate"),
    "nature": ("forest", "park", "garden", "snow"),
    "bed": ("sofa", "carpet", "bed", "chair"),
    "tale": ("story", "poem", "book"),
    "sound": ("piano", "radio", "birds", "violin", "rain"),
    "treasure": ("a gold coin", "an old map", "a kitten", "a love letter"),
    "country": ("Italy", "Japan", "Brazil", "Canada", "Egypt"),
    "summer": ("May", "June", "July", "August"),
    "gift": ("a piano", "a horse", "a bicycle", "a kitten", "a violin"),
    "language": ("Italian", "French", "Chinese", "Arabic"),
    "colour": ("green", "blue", "pink", "white"),
    "dear": ("my son", "my daughter", "my wife", "my husband", "my baby"),
    "flowers": ("roses", "tulips", "breakfast", "chocolate"),
    "skill": ("swim", "read", "cook", "dance", "sing"),
    "trick": ("swim", "dance", "open doors", "catch a ball"),
    "wall": ("wall", "window", "television", "clock"),
    "hobby": ("guitar", "bicycle", "piano", "camera"),
    "week": ("weekend", "week", "summer", "holidays"),
    "station": ("station", "door", "airport", "hospital"),
}

# What one can be happy about, afraid of, tired of, ...
TOPICS = (
    "the exam", "the party", "the trip", "the letter", "the music", "the wedding", "the summer",
    "the news", "the concert", "the garden", "the future", "my work", "my family", "my friends",
    "my dog", "my birthday",
)  # fmt: skip
# Slots whose things may be described by one more word.
DESCRIBED = ("item", "art", "private", "cloth", "hobby", "dear_thing")
DESCRIPTIONS = ("old", "new", "little", "beautiful")

# Where a past or a present statement may begin; most begin with none.
WHEN: dict[str, tuple[str, ...]] = {
    "past": ("Yesterday", "Last night", "Last week", "This morning", "On Sunday", "An hour ago"),
    "present": ("Today", "Right now", "This week", "At the moment"),
}
# How a turn may begin that brings another emotion than the one before.
TURNING = ("But", "And then", "Oh,", "Wait,", "Well,")

GREETINGS = ("Hello!", "Hi!", "Good morning!", "Good evening!")
INTRODUCTIONS = ("Hello! My name is {name}.", "Hi, I am {name}.")

SYSTEM_WHO = ("friend", "listener", "companion", "assistant", "neighbour")
SYSTEM_HOW = ("kind", "warm", "patient", "gentle", "friendly")
SYSTEM_DO = (
    "Listen well.",
    "Answer briefly.",
    "Answer in one or two sentences.",
    "Always be honest.",
    "Comfort the user.",
    "Do not judge the user.",
    "Remember what the user tells you.",
    "You care about how the user feels.",
)
