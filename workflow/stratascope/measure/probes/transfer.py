"""A probe fitted on one set of features and judged on another: dataset, layer or checkpoint."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stratascope.errors import StratascopeError
from stratascope.measure.bootstrap import Estimate, interval_of, numbered, resample_counts, resampled
from stratascope.measure.interval import seed_of
from stratascope.measure.metrics import FloatArray, IntArray
from stratascope.measure.probes.crossval import DEFAULT, Settings, fit_weights
from stratascope.measure.probes.design import FOLDS, RESAMPLES
from stratascope.measure.probes.folds import fold_numbers
from stratascope.measure.probes.labels import Kind, Target, features_of, target_of
from stratascope.measure.probes.logistic import log_probabilities
from stratascope.measure.probes.scores import Predictions, measures_of, value_of
