"""Analyses of stored runs: labels from outcomes, causes, comparisons, nearest-neighbor accuracy.

compare.py          do two runs do the same inside?
labels.py           labels that outcomes suggest, over
  causes.py           the hyperparameter that sets a bad run apart
hyperparameters.py  which ones vary, and the range of the good runs
layers.py           layers of two networks, matched by relative depth
deviation.py        how far each snapshot is from the good runs at the same checkpoint
knn_accuracy.py     how well nearest neighbors in a layer predict the label of a point
"""

from __future__ import annotations

from repwatch.analysis.labels import LabelSuggestion, LabelSuggestions

__all__ = ["LabelSuggestion", "LabelSuggestions"]
