"""How alike two representations of the same texts are: layers, checkpoints, models.

`SIMILARITIES` is the table of measures, `compare_layers` measures all layers of one side against
all of the other, with permutation nulls and intervals.
"""

from stratascope.measure.similarity.layers import LayerSimilarity, compare_layers
from stratascope.measure.similarity.table import SIMILARITIES, Similarity

__all__ = ["SIMILARITIES", "LayerSimilarity", "Similarity", "compare_layers"]
