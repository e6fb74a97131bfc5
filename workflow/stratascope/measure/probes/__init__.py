"""Linear probes: what can be read off features, how well, how sure, and against what.

`design` plans everything but the features: folds, groups, shuffled labels, control tasks, bootstrap.
`probe` and `probe_layers` cross-validate with it, `weights_of_layers` fits probes to keep, `transfer`
fits on one set of features and judges on another.
"""

from stratascope.measure.probes.baselines import token_counts
from stratascope.measure.probes.crossval import Settings
from stratascope.measure.probes.design import Design, design
from stratascope.measure.probes.nulls import EDGE_WORDS, TooFewTypesError, edge_words
from stratascope.measure.probes.probe import (
    Measured,
    ProbeResult,
    probe,
    probe_layers,
    weights_of_layers,
)
from stratascope.measure.probes.scores import MEASURES
from stratascope.measure.probes.transfer import Transfer, transfer
from stratascope.measure.probes.weights import ProbeWeights

__all__ = [
    "EDGE_WORDS",
    "MEASURES",
    "Design",
    "Measured",
    "ProbeResult",
    "ProbeWeights",
    "Settings",
    "TooFewTypesError",
    "Transfer",
    "design",
    "edge_words",
    "probe",
    "probe_layers",
    "token_counts",
    "transfer",
    "weights_of_layers",
]
