"""Numbers and names as a reader should see them."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "\u2212"
SOURCE_NAMES = {
    "hidden_in": "residual in",
    "hidden_out": "residual out",
    "attn_out": "attention out",
    "mlp_down_out": "MLP out",
}
MEASURE_NAMES = {
    "cosine": "Cosine",
    "centred_cosine": "Centred cosine",
    "MAE": "MAE",
    "overlap": "Overlap (Jaccard)",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "auroc": "AUROC",
    "brier": "Brier score",
    "calibration_error": "Calibration error",
    "r2": "R²",
    "linear_cka": "Linear CKA",
    "linear_cka_debiased": "Linear CKA, debiased",
    "rbf_cka": "RBF CKA",
    "rbf_cka_debiased": "RBF CKA, debiased",
    "svcca": "SVCCA",
    "pwcca": "PWCCA",
    "procrustes": "Procrustes distance",
    "angular": "Angular distance",
    "rsa": "RSA (Spearman)",
    "rsa_pearson": "RSA (Pearson)",
    "mutual_knn": "Mutual nearest neighbours",
}
POSITION_NAMES = {
    "generation_prompt": "generation prompt",
    "turn_end": "turn end",
    "content_mean": "content mean",
}
ROLE_SHORT = {"system": "sys", "user": "usr", "assistant": "ast"}


def number(value: float | None, digits: int = 3) -> str:
    """A number to ``digits`` decimals with a real minus sign; a gap is an en dash."""
    if value is None or not math.isfinite(value):
        return "\u2013"
    small = value != 0 and abs(value) < 0.5 * 10**-digits
    return (f"{value:.1g}" if small else f"{value:.{digits}f}").replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """Like ``number``, with a plus sign where it is positive: for differences."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 else text


def interval(lower: float | None, upper: float | None, digits: int = 3) -> str:
    """A 95 % interval in words that survive negative numbers."""
    return f"{number(lower, digits)} to {number(upper, digits)}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 run``, ``2 runs``, ``12,000 runs``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def thousands(count: int) -> str:
    """``12,000``."""
    return f"{count:,}"


def joined(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def plot_text(text: str) -> str:
    """Text that Plotly shows as it is: Plotly reads a subset of HTML in every label."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A label is one line, and Plotly reads %{...} in templates.
    return " ".join(escaped.split()).replace("%{", "%\u200b{")


def first_upper(text: str) -> str:
    """``MLP out`` stays, ``residual in`` becomes ``Residual in``."""
    return text[:1].upper() + text[1:]


def source_name(source: str) -> str:
    """A source in a reader's words."""
    return SOURCE_NAMES.get(source, source)


def measure_name(measure: str) -> str:
    """A measure in a reader's words."""
    return MEASURE_NAMES.get(measure, measure)


def position_name(position: str) -> str:
    """A snapshot position in a reader's words."""
    return POSITION_NAMES.get(position, position)
