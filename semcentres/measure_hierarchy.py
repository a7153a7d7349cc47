"""What is measured by a hierarchy of the classes, where the data has one."""

import numpy as np
from jaxtyping import Float, Int64

from centre_builders.taxonomy import Taxonomy, lcs_heights_of, similarity_of
from semcentres.checkpoint import Results
from semcentres.data.source import Source
from semcentres.evaluation.hierarchy import (
    class_precision_at,
    hierarchical_distance_at,
    image_precision,
    mistake_severity,
)
from semcentres.index import nearest_centres
from semcentres.measure import Assessed
from semcentres.model import Model

RANKS = (1, 5)
AHP_RANK = 250


def by_hierarchy(model: Model, shown: Assessed, source: Source) -> Results:
    """Measure how bad mistakes are, and both conventions of hierarchical precision.

    `hp_images_at_5` ranks images (Barz and Denzler 2019), `hp_classes_at_5` ranks classes
    (Bertinetto et al. 2020); see `evaluation.hierarchy`. Distances are heights of the lowest
    common ancestor, which Bertinetto et al. call ILSVRC's.
    """
    if source.parents is None:
        return {}
    taxonomy, labels = Taxonomy.from_parents(source.parents), shown.labels
    rows = taxonomy.rows_of(model.bank.names)
    distances = lcs_heights_of(taxonomy, rows)

    def similarity(classes: Int64[np.ndarray, " n"]) -> Float[np.ndarray, "n _K"]:
        return similarity_of(distances(classes), taxonomy)

    num = min(max(RANKS), len(rows))
    ranked = nearest_centres(shown.embeddings, model.bank.vectors, num).ids
    results: Results = {}
    severity = mistake_severity(distances, ranked[:, 0], labels)
    if severity is not None:
        results["mistake_severity"] = severity
    ranks = tuple(rank for rank in RANKS if rank <= num)
    at = class_precision_at(similarity, ranked, labels, ranks=ranks)
    results |= {f"hp_classes_at_{rank}": value for rank, value in at.items()}
    far = hierarchical_distance_at(distances, ranked, labels, ranks=ranks)
    results |= {f"hierarchical_distance_at_{rank}": value for rank, value in far.items()}
    most = min(AHP_RANK, len(labels) - 1)
    own = np.arange(len(labels))
    blocks = shown.among.search_blocks(shown.embeddings, most, exclude=own)
    near = ((rows, block.ids) for rows, block in blocks)
    found = image_precision(near, labels, similarity, ranks=RANKS, ahp_rank=most)
    results |= {f"hp_images_at_{rank}": value for rank, value in found.precision_at.items()}
    results[f"mahp_at_{most}"] = found.mean_average_precision
    return results
