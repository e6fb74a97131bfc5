"""What a probe must beat: no features at all, a direction without fitting, the words alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.probes.labels import Target
from stratascope.measure.probes.scores import Predictions

# Words, and every other sign by itself: a question mark tells more than most words.
WORD_OR_SIGN = r"\w+|[^\w\s]"
MOST_TOKENS = 5000


def majority(target: Target, folds: IntArray) -> Predictions:
    """No features: each row gets its training set's class frequencies, or its mean label."""
    scores = np.empty((len(target), max(1, len(target.classes))))
    for fold in np.unique(folds):
        out = folds == fold
        if target.kind == "ridge":
            scores[out] = target.values[~out].mean()
        else:
            counts = np.bincount(target.codes[~out], minlength=len(target.classes))
            scores[out] = np.log(counts / counts.sum())
    return Predictions(target, scores, folds)


def difference_of_means(features: FloatArray, target: Target, folds: IntArray) -> Predictions:
    """Each row goes to the class whose mean in the training set is nearest (no penalty, no fit).

    For two classes this is the mass-mean probe (Marks & Tegmark, 2023): the direction is the
    difference of the two means, the threshold half-way between them. ``features`` ``(n, d)`` is taken as it
    is, not standardised. Scores rank, but are no probabilities.
    """
    scores = np.empty((len(target), len(target.classes)))
    codes = np.arange(len(target.classes))
    for fold in np.unique(folds):
        out = folds == fold
        inside = (target.codes[~out] == codes[:, None]).astype(np.float64)
        means = inside @ features[~out] / inside.sum(axis=1, keepdims=True)
        # About their own mean, so that a large common offset does not cost digits.
        middle = means.mean(axis=0)
        means = means - middle
        scores[out] = (features[out] - middle) @ means.T - np.square(means).sum(axis=1) / 2
    return Predictions(target, scores, folds, probabilities=False)


def token_counts(texts: Sequence[str] | Sequence[Sequence[int]]) -> FloatArray:
    """How often each token stands in each text: ``(n, tokens)``, for a probe of the text alone.

    Texts are split into words, in lower case, and other signs; or come as token ids. Of more than
    5,000 tokens the most frequent are counted. Give the
    counts to `probe` with ``Settings(standardise=False)``: a token that a training set lacks has
    no weight there, so that nothing is learned from the texts held out. Raises StratascopeError if
    there is no token at all.
    """
    if all(isinstance(text, str) for text in texts):
        counter = CountVectorizer(token_pattern=WORD_OR_SIGN, max_features=MOST_TOKENS)
    else:
        counter = CountVectorizer(analyzer=list, max_features=MOST_TOKENS)
    try:
        return np.asarray(counter.fit_transform(texts).toarray(), dtype=np.float64)
    except ValueError as error:
        raise StratascopeError("texts: there is no token in any of them") from error
