"""RDMs: the one thing that is stored of a representation, and all that can be read from it.

An RDM of n probe points is its condensed float32 vector `D` of length n(n-1)/2 in the order of
`scipy.spatial.distance.pdist`: D[0, 1], D[0, 2], …, D[1, 2], …. It forgets rotations, reflections,
translations and permutations of neurons, and nothing else, so that everything below equals the
computation on the raw activations.

    activations (n, d) --from_activations--> D --encode--> bytes in the registry --decode--> D
    D --> pca, tsne, neighbors, neighbor_graph, effective_dimension, project, analogies, purity, ...

Torch is imported only by `from_activations`, so that reading needs numpy alone.
"""

from __future__ import annotations

from repwatch.rdm.activations import from_activations
from repwatch.rdm.condensed import (
    Float32,
    Float64,
    Int,
    check,
    condense,
    count_points,
    decode,
    encode,
    pairs,
    square,
)
from repwatch.rdm.directions import (
    analogies,
    complete_analogy,
    project,
    project_activations,
    sample_quadruples,
)
from repwatch.rdm.procrustes import align, align_views, alignment
from repwatch.rdm.views import (
    Graph,
    Purity,
    effective_dimension,
    neighbor_graph,
    neighbors,
    pca,
    purity,
    spectrum,
    tsne,
    vote_accuracy,
)

__all__ = [
    "Float32",
    "Float64",
    "Graph",
    "Int",
    "Purity",
    "align",
    "align_views",
    "alignment",
    "analogies",
    "check",
    "complete_analogy",
    "condense",
    "count_points",
    "decode",
    "effective_dimension",
    "encode",
    "from_activations",
    "neighbor_graph",
    "neighbors",
    "pairs",
    "pca",
    "project",
    "project_activations",
    "purity",
    "sample_quadruples",
    "spectrum",
    "square",
    "tsne",
    "vote_accuracy",
]
