"""RDM against RDM: how alike two representations are, by the field's names.

Every distance comes from a vector map: the Euclidean distance between `vectors(D1)` and
`vectors(D2)` *is* the distance, so that one matrix product gives all pairs, and t-SNE, PCA and
nearest neighbors work on vectors. All of them are therefore metrics (cosine and cka on RDMs up
to scale, pearson up to shift and scale, spearman up to monotone change).

| name | vector of D | range | ignores, besides what the RDM itself ignores |
|---|---|---|---|
| euclidean | D | [0, inf) | nothing |
| cosine | D / norm | [0, sqrt 2] | scale |
| pearson | centered D / norm | [0, 2] | scale, a constant added to all distances |
| spearman | centered ranks of D / norm | [0, 2] | every monotone change of the distances |
| cka | double-centered -D^2/2 / norm | [0, sqrt 2] | scale |
| cka_unbiased | U-centered -D^2/2 / norm | [0, 2] | scale |

The last five are chords, sqrt(2 - 2 s) of the similarity s: the distance between unit vectors
(1 - s itself breaks the triangle inequality). An RDM ignores rotation, reflection, translation
and permutation of neurons.

Sources: cosine, pearson and spearman of RDMs, Nili et al. 2014 and Diedrichsen et al. 2021 (as in
rsatoolbox); cka, Kornblith et al. 2019; its unbiased form, Song et al. 2012 and Nguyen et al. 2021;
angular Procrustes, Williams et al. 2021; Mantel's test, Mantel 1967.
"""

from __future__ import annotations

from repwatch.similarity.measures import (
    DISTANCES,
    SIMILARITIES,
    TRANSFORMS,
    analogy_agreement,
    cross,
    distance,
    pairwise,
    procrustes,
    similarity,
    vectors,
)
from repwatch.similarity.permutation import Mantel, mantel
from repwatch.similarity.sketching import (
    SKETCH_LENGTH,
    SKETCHED_DISTANCES,
    sketch,
    sketch_vectors,
    sketches,
)

__all__ = [
    "DISTANCES",
    "SIMILARITIES",
    "SKETCHED_DISTANCES",
    "SKETCH_LENGTH",
    "TRANSFORMS",
    "Mantel",
    "analogy_agreement",
    "cross",
    "distance",
    "mantel",
    "pairwise",
    "procrustes",
    "similarity",
    "sketch",
    "sketch_vectors",
    "sketches",
    "vectors",
]
