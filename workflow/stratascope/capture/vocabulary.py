"""What a checkpoint's token ids stand for, by its tokenizer alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from stratascope.errors import StratascopeError
from stratascope.study.checkpoints import Checkpoint


@dataclass(frozen=True)
class Vocabulary:
    """``text`` gives what a token adds to a text, as runs record it; ``ids`` the tokens of a text."""

    text: Callable[[int], str]
    ids: Callable[[str], list[int]]

    def token(self, named: str) -> int:
        """The id that a person names: a number, or a text that is a single token.

        A leading space that a shell or a table lost is tried, too.

        Raises:
            StratascopeError: a text of several tokens.
        """
        if named.isdecimal():
            return int(named)
        for text in (named, f" {named}"):
            found = self.ids(text)
            if len(found) == 1:
                return found[0]
        parts = ", ".join(f"{self.text(i)!r} ({i})" for i in self.ids(named))
        raise StratascopeError(
            f"{named!r} is not one token but {parts}; name one of them, or an id"
        )


def vocabulary_of(checkpoint: Checkpoint) -> Vocabulary:
    """The checkpoint's vocabulary. A folder's ``tokenizer.json`` is read without transformers.

    Raises:
        StratascopeError: as loading the tokenizer does.
    """
    file = Path(checkpoint.source) / "tokenizer.json"
    if not (checkpoint.is_local and file.is_file()):
        return _of_transformers(checkpoint)
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(file))
    decode = partial(fast.decode, skip_special_tokens=False)
    return Vocabulary(
        cache(partial(_text, decode)),
        lambda text: list(fast.encode(text, add_special_tokens=False).ids),
    )


def _of_transformers(checkpoint: Checkpoint) -> Vocabulary:
    from stratascope.capture.loading import load_tokenizer
    from stratascope.capture.prompts import token_text

    tokenizer = load_tokenizer(checkpoint)
    return Vocabulary(
        cache(partial(token_text, tokenizer)),
        lambda text: list(tokenizer.encode(text, add_special_tokens=False)),
    )


def _text(decode: Callable[[list[int]], str], token: int) -> str:
    """As `stratascope.capture.prompts.token_text`."""
    alone, twice = decode([token]), decode([token, token])
    return twice[len(alone) :] if twice.startswith(alone) else alone
