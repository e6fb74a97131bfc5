"""Many L2-penalised logistic regressions on the same rows, solved together.

Cross-validation asks for hundreds of regressions that differ only in their labels, their penalties
and the rows they may see. One at a time, each step of each is a product of the features with one
vector, and waits for memory. Together, a step of all of them is a product with a matrix.

The solver is L-BFGS (Nocedal & Wright, Numerical Optimization, 2006, ch. 7.2) on all problems in
parallel, each with its own step length. Features spread along a few directions much more than along
the rest; there the loss is steep by known amounts, and steps are scaled by them: it converges in
tens of steps where unscaled features take hundreds. Problems that have converged leave the batch.

Loss and penalty are scikit-learn's: the sum over rows of the negative log-likelihood plus half the
sum of penalty times squared weight (``C = 1 / penalty``); intercepts are free. Two classes have
one vector of weights, for the logit of the second; K > 2 classes have K (softmax).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import cast

import numpy as np
from scipy.special import expit, log_expit, log_softmax

from stratascope.errors import StratascopeError
from stratascope.measure.metrics import BoolArray, FloatArray, IntArray

MEMORY = 8
MOST_STEPS = 3000
# A step length is good when it leaves at most this share of the slope along the step.
SLOPE_LEFT = 0.3
MOST_TRIALS = 20


@dataclass(frozen=True)
class Rows:
    """n rows of m features, and the directions along which they spread most.

    ``design`` ``(n, m + 1)`` ends in a column of ones. ``axes`` ``(q, m)`` are orthonormal and
    ``squares`` ``(q,)`` the sums of squares along them; ``rest`` is the mean sum of squares along
    the other directions. ``axes`` is None if the features lie along their axes themselves.
    """

    design: FloatArray
    squares: FloatArray
    axes: FloatArray | None = None
    rest: float = 0.0

    def single(self) -> Rows:
        """The same in single precision, in which everything that is fitted to them then is."""
        axes = None if self.axes is None else _single(self.axes)
        return Rows(_single(self.design), self.squares, axes, self.rest)


@dataclass(frozen=True)
class Problems:
    """P regressions on n rows of m features.

    ``codes`` ``(P, n)`` are the labels and ``mask`` ``(P, n)`` says which rows count. ``penalty``
    ``(P,)`` > 0 is multiplied by ``weight`` ``(P, m)``, which is near 1.
    """

    codes: IntArray
    mask: BoolArray
    penalty: FloatArray
    weight: FloatArray

    def __len__(self) -> int:
        return len(self.penalty)


def _single(numbers: FloatArray) -> FloatArray:
    # FloatArray says float64; here, for once, it is the narrower type.
    return cast(FloatArray, numbers.astype(np.float32))


def columns_of(classes: int) -> int:
    """How many vectors of weights a probe has: 1 for two classes, else one a class."""
    return 1 if classes == 2 else classes


def fit(
    rows: Rows, problems: Problems, start: FloatArray, tolerance: float
) -> tuple[FloatArray, FloatArray]:
    """Coefficients ``(P, k, m + 1)``, intercepts last, and the logits of all rows ``(P, k, n)``.

    ``start`` ``(P, k, m + 1)`` is where the search begins. A problem is solved when a Newton step
    would lower its loss by less than ``tolerance`` a row. Raises StratascopeError if that takes
    more than 3000 steps.
    """
    return _Search(rows, problems, start, tolerance).run()


def rescaled(rows: Rows, w: FloatArray, problems: Problems, before: float) -> FloatArray:
    """Where to begin with ``problems``, given solutions ``w`` with penalty ``before``.

    Were the loss a parabola, each direction's coefficient would be as the inverse of its loss's
    steepness plus penalty; this is exact for strong penalties.
    """
    old = _steepness(rows, replace(problems, penalty=np.full(len(problems), before)), w.shape[1])
    new = _steepness(rows, problems, w.shape[1])
    return new.undo(old.undo(w, -1.0))


def log_probabilities(logits: FloatArray) -> FloatArray:
    """Logits ``(..., k)`` as log-probabilities ``(..., classes)``."""
    if logits.shape[-1] > 1:
        return np.asarray(log_softmax(logits, axis=-1))
    return np.concatenate([log_expit(-logits), log_expit(logits)], axis=-1)


@dataclass(frozen=True)
class _Steepness:
    """About how fast each problem's slope changes along each direction: a Hessian in its axes."""

    along: FloatArray  # (P, 1, q)
    across: FloatArray  # (P, 1, 1)
    intercept: FloatArray  # (P, 1)
    axes: FloatArray | None

    def undo(self, q: FloatArray, power: float = 1.0) -> FloatArray:
        """Gradients ``(P, k, m + 1)`` divided by it (multiplied for ``power`` -1)."""
        out = np.empty_like(q)
        inner, along = q[..., :-1], self.along**-power
        if self.axes is None:
            out[..., :-1] = inner * along
        else:
            flat = np.ascontiguousarray(inner).reshape(-1, inner.shape[2])
            across = self.across**-power
            coordinates = (flat @ self.axes.T).reshape(*inner.shape[:2], -1) * (along - across)
            back = coordinates.reshape(len(flat), -1) @ self.axes
            out[..., :-1] = inner * across + back.reshape(inner.shape)
        out[..., -1] = q[..., -1] * self.intercept**-power
        return out

    def __getitem__(self, left: BoolArray) -> _Steepness:
        return _Steepness(self.along[left], self.across[left], self.intercept[left], self.axes)


def _steepness(rows: Rows, problems: Problems, columns: int) -> _Steepness:
    classes = max(2, columns)
    # The largest curvature of the loss of a row, which it has where all classes are as likely.
    curvature = (1 / classes) * (1 - 1 / classes)
    count = problems.mask.sum(axis=1)
    share = curvature * count[:, None, None] / len(rows.design)
    penalty = problems.penalty[:, None, None]
    along = share * rows.squares + penalty
    dtype = rows.design.dtype
    return _Steepness(
        along.astype(dtype),
        (share * rows.rest + penalty).astype(dtype),
        (curvature * count[:, None]).astype(dtype),
        rows.axes,
    )


@dataclass
class _State:
    """What L-BFGS knows of the problems still in the batch; the first axis is theirs."""

    place: IntArray
    codes: IntArray
    mask: FloatArray
    count: FloatArray
    penalty: FloatArray
    steepness: _Steepness
    scale: FloatArray
    w: FloatArray
    logits: FloatArray
    gradient: FloatArray

    def keep(self, left: BoolArray) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[left])


class _Search:
    def __init__(self, rows: Rows, problems: Problems, start: FloatArray, tolerance: float) -> None:
        self.design, self.dtype = rows.design, rows.design.dtype
        start = start.astype(self.dtype)
        self.tolerance = tolerance
        self.history: list[tuple[FloatArray, FloatArray, FloatArray]] = []
        mask = problems.mask[:, None, :].astype(self.dtype)
        penalty = np.zeros((len(problems), 1, start.shape[2]), self.dtype)
        penalty[:, 0, :-1] = problems.penalty[:, None] * problems.weight
        self.on = _State(
            place=np.arange(len(problems)),
            codes=problems.codes,
            mask=mask,
            count=mask.sum(axis=(1, 2)),
            penalty=penalty,
            steepness=_steepness(rows, problems, start.shape[1]),
            scale=np.ones(len(problems), self.dtype),
            w=start,
            logits=self._logits(start),
            gradient=start,
        )
        self.on.gradient = self._gradient(self._residuals(self.on.logits))
        self.solution = np.empty_like(start)
        self.fitted = np.empty_like(self.on.logits)

    def run(self) -> tuple[FloatArray, FloatArray]:
        for _ in range(MOST_STEPS):
            direction = -self._newton(self.on.gradient)
            slope = _dot(self.on.gradient, direction)
            done = -slope <= self.tolerance * self.on.count
            if done.mean() > 0.1 or done.all():
                self._retire(done)
                direction, slope, done = direction[~done], slope[~done], done[~done]
            if len(done) == 0:
                return self.solution, self.fitted
            self._step(direction, slope, done)
        raise StratascopeError(
            f"a logistic probe did not converge in {MOST_STEPS} steps with the penalty "
            f"{self.on.penalty.max():.3g}; take stronger penalties, that is, smaller C"
        )

    def _step(self, direction: FloatArray, slope: FloatArray, done: BoolArray) -> None:
        on = self.on
        along = self._logits(direction)
        length, residuals = self._line(along, direction, slope, done)
        step = length[:, None, None] * direction
        on.w = on.w + step
        on.logits = on.logits + length[:, None, None] * along
        gradient = self._gradient(residuals)
        self._remember(step, gradient - on.gradient)
        on.gradient = gradient

    def _logits(self, w: FloatArray) -> FloatArray:
        flat = w.reshape(-1, w.shape[2]) @ self.design.T
        return np.asarray(flat.reshape(*w.shape[:2], -1))

    def _residuals(self, logits: FloatArray) -> FloatArray:
        """Probabilities minus labels, 0 for rows that do not count."""
        if logits.shape[1] == 1:
            residuals = expit(logits) - self.on.codes[:, None].astype(self.dtype)
        else:
            residuals = np.exp(logits - logits.max(axis=1, keepdims=True))
            residuals /= residuals.sum(axis=1, keepdims=True)
            for code in range(logits.shape[1]):
                residuals[:, code] -= self.on.codes == code
        return np.asarray(residuals * self.on.mask)

    def _gradient(self, residuals: FloatArray) -> FloatArray:
        product = residuals.reshape(-1, residuals.shape[2]) @ self.design
        return np.asarray(product.reshape(self.on.w.shape) + self.on.penalty * self.on.w)

    def _newton(self, gradient: FloatArray) -> FloatArray:
        """The inverse Hessian times the gradient, as well as L-BFGS knows it."""
        q, shares = gradient.copy(), []
        for step, change, inverse in reversed(self.history):
            share = inverse * _dot(step, q)
            q -= share[:, None, None] * change
            shares.append(share)
        q = self.on.scale[:, None, None] * self.on.steepness.undo(q)
        for step, change, inverse in self.history:
            q += (shares.pop() - inverse * _dot(change, q))[:, None, None] * step
        return q

    def _remember(self, step: FloatArray, change: FloatArray) -> None:
        product, scaled = _dot(step, change), _dot(change, self.on.steepness.undo(change))
        # The loss is convex: both are positive, unless nothing moved.
        moved = (product > 0) & (scaled > 0)
        self.on.scale = np.divide(product, scaled, out=self.on.scale, where=moved)
        inverse = np.divide(1.0, product, out=np.zeros_like(product), where=moved)
        self.history = [*self.history, (step, change, inverse)][-MEMORY:]

    def _line(
        self, along: FloatArray, direction: FloatArray, slope: FloatArray, done: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """Step lengths that leave little slope, and the residuals there; 0 for what is done.

        The slope of a convex loss along a step only grows, from below 0: its zero is bracketed
        and approached by the secant.
        """
        pull = self.on.penalty * direction
        linear, square = _dot(pull, self.on.w), _dot(pull, direction)
        length = np.where(done, 0.0, 1.0).astype(self.dtype)
        low, high = np.zeros_like(slope), np.full_like(slope, np.inf)
        for trial in range(MOST_TRIALS):
            residuals = self._residuals(self.on.logits + length[:, None, None] * along)
            now = _dot(residuals, along) + linear + length * square
            good = done | (np.abs(now) <= SLOPE_LEFT * np.abs(slope))
            if good.all() or trial == MOST_TRIALS - 1:
                break
            low, high = np.where(now < 0, length, low), np.where(now > 0, length, high)
            with np.errstate(divide="ignore", invalid="ignore"):
                secant = length * slope / (slope - now)
            middle = np.where(np.isinf(high), 4 * length, (low + high) / 2)
            inside = (secant > low) & (secant < np.minimum(high, 10 * length))
            length = np.where(good, length, np.where(inside, secant, middle))
        return length, residuals

    def _retire(self, done: BoolArray) -> None:
        """Keep the solutions of problems that are solved, and go on without them."""
        place = self.on.place[done]
        self.solution[place], self.fitted[place] = self.on.w[done], self.on.logits[done]
        self.on.keep(~done)
        self.history = [(s[~done], c[~done], i[~done]) for s, c, i in self.history]


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    """Sums over all axes but the first, that of the problems."""
    return np.asarray(np.einsum("pkr,pkr->p", a, b))
