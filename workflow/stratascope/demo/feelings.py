"""How each emotion of the demo world is said, shown, quoted, and answered: one entry an emotion.

To add an emotion, add an entry here and a few rows to `events.py`. The templates use the language
of `events.py`; `{event}` is what the user told, turned towards the user ("your dog ran away"), and
`{adj}` the feeling that the user named. A pair is (past, present).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Feeling:
    """The tables of one emotion."""

    adjectives: tuple[str, ...]  # single words: "so", "very", ... may stand in front
    phrases: tuple[str, ...]  # longer ones: nothing may stand in front
    towards: tuple[str, ...]  # the feeling about something: one of `world.TOPICS` follows
    denials: tuple[tuple[str, str], ...]  # the feeling said through a negation
    signs: tuple[tuple[str, str], ...]  # what shows it, without naming it; no negation
    quotes: tuple[str, ...]  # what somebody said that brought it
    echoes: tuple[str, ...]  # replies that tell the event again
    named: tuple[str, ...]  # replies to a named feeling
    plain: tuple[str, ...]  # replies to neither
    to_quote: tuple[str, ...]  # replies to somebody's words
    about_other: str  # remark when another person has the feeling
    advice: str  # answer to "What should I do?"


FEELINGS: dict[str, Feeling] = {
    "joy": Feeling(
        adjectives=("happy", "glad", "delighted", "cheerful", "proud", "excited"),
        phrases=("full of joy", "over the moon"),
        towards=("happy about", "excited about", "glad about"),
        denials=(
            ("I was not sad any more", "I am not sad any more"),
            ("I could not stop smiling", "I cannot stop smiling"),
            ("Nothing could spoil the day", "Nothing can spoil the day"),
        ),
        signs=(
            ("I laughed out loud", "I am laughing out loud"),
            ("I wanted to sing and dance", "I want to sing and dance"),
            ("We celebrated with a cake", "We are celebrating with a cake"),
            ("I smiled at everybody", "I smile at everybody"),
        ),
        quotes=("We won the game!", "I passed the exam!", "I have good news!", "You did it!"),
        echoes=(
            "How wonderful that {event}!",
            "I am so happy that {event}!",
            "What good news that {event}!",
            "It is great that {event}!",
        ),
        named=("I am happy that you {are} {adj}!", "You {are} {adj}, how wonderful!"),
        plain=("I can hear your joy.", "Your joy is my joy."),
        to_quote=('"{quote}" What good news!', "Such words from {who} bring joy."),
        about_other="Be happy with {him}!",
        advice="Celebrate it with your friends.",
    ),
    "sadness": Feeling(
        adjectives=("sad", "unhappy", "lonely", "heartbroken", "miserable"),
        phrases=("full of sorrow", "close to tears"),
        towards=("sad about", "unhappy about"),
        denials=(
            ("I was not happy at all", "I am not happy at all"),
            ("I could not stop crying", "I cannot stop crying"),
            ("I did not feel like laughing", "I do not feel like laughing"),
        ),
        signs=(
            ("I cried all night", "I am crying"),
            ("My heart was heavy", "My heart is heavy"),
            ("I missed {him} so much", "I miss {him} so much"),
            ("My pillow was wet with tears", "My pillow is wet with tears"),
        ),
        quotes=("I am moving away.", "Goodbye.", "It is over.", "I have bad news."),
        echoes=(
            "I am so sorry that {event}.",
            "It is sad that {event}.",
            "How sad that {event}.",
            "I am sorry to hear that {event}.",
        ),
        named=("I am sorry that you {are} {adj}.", "You {are} {adj}, and I am here with you."),
        plain=("I am here with you.", "I can hear your sorrow."),
        to_quote=('"{quote}" Those are sad words.', "Such words from {who} can hurt."),
        about_other="Give {him} a hug.",
        advice="Talk to a friend, and let the tears come.",
    ),
    "anger": Feeling(
        adjectives=("angry", "furious", "annoyed", "mad", "cross"),
        phrases=("full of rage", "fed up with it"),
        towards=("angry about", "annoyed by", "furious about"),
        denials=(
            ("It was not fair", "It is not fair"),
            ("I could not forgive it", "I cannot forgive it"),
            ("I did not want to be polite", "I do not want to be polite"),
        ),
        signs=(
            ("I slammed the door", "I want to slam the door"),
            ("My face was hot and red", "My face is hot and red"),
            ("I wanted to shout", "I want to shout"),
            ("I kicked the wall", "I could kick the wall"),
        ),
        quotes=("It is your fault.", "You are lazy.", "Leave me alone!", "You are wrong."),
        echoes=(
            "It is unfair that {event}.",
            "It makes me angry too that {event}.",
            "You may be angry that {event}.",
            "It is not right that {event}.",
        ),
        named=("You have every reason to be {adj}.", "I understand why you {are} {adj}."),
        plain=("Your anger makes sense.", "Take a deep breath first."),
        to_quote=('"{quote}" That is unfair.', "Such words from {who} are unfair."),
        about_other="Give {him} time to cool down.",
        advice="Take a deep breath, and then say what you need.",
    ),
    "fear": Feeling(
        adjectives=("afraid", "scared", "frightened", "terrified", "worried", "nervous"),
        phrases=("full of fear", "in a panic"),
        towards=("afraid of", "scared of", "worried about", "nervous about"),
        denials=(
            ("I did not feel safe", "I do not feel safe"),
            ("I could not sleep", "I cannot sleep"),
            ("I did not dare to move", "I do not dare to move"),
        ),
        signs=(
            ("My hands were shaking", "My hands are shaking"),
            ("My heart beat so fast", "My heart beats so fast"),
            ("I hid under the blanket", "I am hiding under the blanket"),
            ("I held my breath", "I am holding my breath"),
        ),
        quotes=("There is someone outside.", "A storm is coming.", "Run!", "Lock the door!"),
        echoes=(
            "It is frightening that {event}.",
            "It must be scary that {event}.",
            "I understand your fear that {event}.",
            "You are brave to tell me that {event}.",
        ),
        named=("It is human to be {adj}.", "Everyone is {adj} sometimes."),
        plain=("You are not alone with your fear.", "I stay with you."),
        to_quote=('"{quote}" That is frightening.', "Such words from {who} are scary."),
        about_other="Tell {him} that you are near.",
        advice="Stay close to someone, and breathe slowly.",
    ),
    "calm": Feeling(
        adjectives=("calm", "peaceful", "relaxed", "quiet", "content"),
        phrases=("at peace", "at home in the world"),
        towards=("calm about", "relaxed about"),
        denials=(
            ("I was not angry any more", "I am not angry any more"),
            ("I did not feel afraid any more", "I do not feel afraid any more"),
            ("There was no hurry", "There is no hurry"),
        ),
        signs=(
            ("I breathed slowly", "I am breathing slowly"),
            ("The house was quiet", "The house is quiet"),
            ("My shoulders were soft and warm", "My shoulders are soft and warm"),
            ("I closed my eyes and rested", "I close my eyes and rest"),
        ),
        quotes=("There is time.", "Everything is fine.", "Rest a little.", "Come and sit down."),
        echoes=(
            "It is good that {event}.",
            "How peaceful that {event}.",
            "I like it that {event}.",
            "It sounds peaceful that {event}.",
        ),
        named=("It is good that you {are} {adj}.", "You {are} {adj}, and that is good."),
        plain=("Enjoy the peace.", "That sounds peaceful."),
        to_quote=('"{quote}" That sounds peaceful.', "Such words from {who} bring peace."),
        about_other="Enjoy the quiet with {him}.",
        advice="Stay where you are and rest.",
    ),
    "surprise": Feeling(
        adjectives=("surprised", "amazed", "astonished", "stunned", "speechless"),
        phrases=("lost for words", "full of wonder"),
        towards=("surprised by", "amazed by", "astonished by"),
        denials=(
            ("I did not expect that", "I cannot believe it"),
            ("I did not know what to say", "I do not know what to say"),
            ("I never expected that", "I do not believe my eyes"),
        ),
        signs=(
            ("I rubbed my eyes", "I am rubbing my eyes"),
            ("My mouth fell open", "My mouth is wide open"),
            ("I dropped my cup", "I have to sit down"),
            ("I looked twice", "I have to look twice"),
        ),
        quotes=("Guess who is here!", "I am getting married!", "Look behind you!", "Surprise!"),
        echoes=(
            "What a surprise that {event}!",
            "I am amazed that {event}!",
            "Who would have thought that {event}!",
            "How strange that {event}!",
        ),
        named=("I would be {adj}, too!", "I understand why you {are} {adj}!"),
        plain=("What a surprise!", "Who would have thought that!"),
        to_quote=('"{quote}" What a surprise!', "Such words from {who} are a surprise."),
        about_other="What did {he} say?",
        advice="Wait a moment, and look again.",
    ),
    "love": Feeling(
        adjectives=("grateful", "thankful", "loved", "touched", "moved"),
        phrases=("full of love", "in love"),
        towards=("grateful for", "thankful for", "touched by"),
        denials=(
            ("I did not feel alone any more", "I do not feel alone any more"),
            ("I never wanted to let {him} go", "I never want to let {him} go"),
            ("I could not love {him} more", "I cannot love {him} more"),
        ),
        signs=(
            ("My heart was warm", "My heart is warm"),
            ("I thanked {him} with a kiss", "I thank {him} with a kiss"),
            ("I wanted to hug the whole world", "I want to hug the whole world"),
            ("I loved {him} so much", "I love {him} so much"),
        ),
        quotes=("I love you.", "You are my sunshine.", "I am proud of you.", "I missed you."),
        echoes=(
            "It is lovely that {event}.",
            "It warms my heart that {event}.",
            "You are loved, and I am glad that {event}.",
            "How tender that {event}.",
        ),
        named=("It is lovely that you {are} {adj}.", "You {are} {adj}, and that warms my heart."),
        plain=("There is so much love in your words.", "Love is a gift."),
        to_quote=('"{quote}" That is so tender.', "Such words from {who} are a gift."),
        about_other="You matter to {him}.",
        advice="Say thank you from the heart.",
    ),
    "apathy": Feeling(
        adjectives=("empty", "numb", "bored", "indifferent", "listless"),
        phrases=("tired of everything", "like a stone"),
        towards=("tired of", "bored by", "indifferent to"),
        denials=(
            ("I did not care", "I do not care"),
            ("Nothing mattered to me", "Nothing matters to me"),
            ("I did not feel anything", "I do not feel anything"),
        ),
        signs=(
            ("It was all the same to me", "It is all the same to me"),
            ("Everything tasted like paper", "Everything tastes like paper"),
            ("The whole world looked grey", "The whole world looks grey"),
            ("I shrugged and turned away", "I shrug and turn away"),
        ),
        quotes=("Come out with us.", "Get up!", "Dinner is ready.", "The sun is shining."),
        echoes=(
            "It is all right that {event}.",
            "I hear that {event}.",
            "Thank you for telling me that {event}.",
            "It sounds like a grey time that {event}.",
        ),
        named=("It is all right to be {adj}.", "You {are} {adj}, and that will pass."),
        plain=("Even a grey time will pass.", "You may rest."),
        to_quote=('"{quote}" You may answer later.', "Such words from {who} can wait."),
        about_other="Stay near {him}.",
        advice="Do one small thing, and then rest.",
    ),
}

EMOTIONS: tuple[str, ...] = tuple(FEELINGS)
BRIGHT = ("joy", "calm", "surprise", "love")
DARK = ("sadness", "anger", "fear", "apathy")


# Signs that begin so have a plural subject; all others a singular one.
PLURAL_SIGNS = ("We ", "My hands ", "My shoulders ")

# "I was very furious" is no English: these take "so" and "really" only.
ABSOLUTE = (
    "delighted", "heartbroken", "miserable", "furious", "terrified", "amazed", "astonished",
    "stunned", "speechless", "loved", "numb",
)  # fmt: skip


@dataclass(frozen=True)
class Closing:
    """A question, or thanks, that may close a user's turn, and the answer to it.

    `needs_who`: only where the turn has a person to speak of. "{advice}" is the emotion's own.
    """

    emotions: tuple[str, ...]
    text: str
    answer: str
    needs_who: bool = False


CLOSINGS: tuple[Closing, ...] = (
    Closing(DARK, "What should I do?", "{advice}"),
    Closing(DARK, "What can I do now?", "{advice}"),
    Closing(DARK, "Will it get better?", "Yes, step by step it will get better."),
    Closing(DARK, "Can you help me?", "Yes, I will help you as well as I can."),
    Closing(DARK, "Is it wrong to feel like this?", "No, your feeling is never wrong."),
    Closing(BRIGHT, "What should I do now?", "{advice}"),
    Closing(("joy", "love"), "Are you happy for me?", "Yes, I am very happy for you."),
    Closing(("joy", "love", "calm"), "Is it not wonderful?", "Yes, it is wonderful."),
    Closing(("calm", "love", "joy"), "Thank you for listening.", "You are welcome."),
    Closing(("surprise",), "Can you believe it?", "I can hardly believe it."),
    Closing(("surprise", "fear"), "What will happen next?", "Nobody knows what will happen next."),
    Closing(("love", "joy"), "How can I thank {him}?", "Write a card to {him}.", True),
    Closing(("sadness", "fear"), "Should I call {him}?", "Yes, call {him} today.", True),
    Closing(("anger",), "Should I talk to {him}?", "Yes, talk to {him} tomorrow.", True),
    Closing(("anger", "surprise"), "Why did that happen?", "I do not know why that happened."),
    Closing(("calm", "apathy"), "Do you understand me?", "Yes, I understand you."),
)
