r"""ProtoNCE: an image near the prototype of its cluster, far from other clusters' prototypes.

Li et al. 2021, Prototypical Contrastive Learning (arXiv:2005.04966), by their code
(github.com/salesforce/PCL at af7287d, main_pcl.py, and at 964da1f, pcl/builder.py). Seed note 004
leaves out what alpha is, that phi is clipped and rescaled, and that the drawn prototypes are
nobody's of the batch.

Dimensions: N training images, B embeddings of a batch, k clusters, D width.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semcentres.objectives.contrast import log_sum_exp

LEAST = 0.01  # of the mean concentration


def concentrations(
    distances: Float[Tensor, " N"],
    assigned: Int[Tensor, " N"],
    num: int,
    *,
    temperature: float,
    alpha: float = 10.0,
) -> Float[Tensor, " k"]:
    r"""Return each cluster's own temperature phi: small where it is tight, or large in number.

    With Z images in a cluster, at the distances d_z from its centroid:

        phi = sum_z d_z / (Z log(Z + alpha))

    A cluster of one image, or none, gets the largest phi of the others. All are clipped to their
    10th and 90th percentile and rescaled to the mean `temperature`. Unlike the code, we also clip
    to a hundredth of the mean: clusters of equal images would have phi = 0, and a loss of nan.

    Args:
        distances: to the own centroid, not squared, at least 0.
        assigned: cluster of each image, in [0, num).
        num: k, at least 1.
        temperature: the mean of the result, above 0.
        alpha: at least 0; larger makes small clusters count less as tight ones.

    Returns:
        One phi a cluster, all positive; `temperature` for all where every distance is 0.

    Raises:
        ValueError: `temperature`, `alpha` or `num` is out of its range.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if alpha < 0:
        raise ValueError(f"alpha must be at least 0, got {alpha}")
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    none = distances.new_zeros(num)
    sizes = none.index_add(0, assigned, torch.ones_like(distances))
    means = none.index_add(0, assigned, distances) / sizes.clamp(min=1)
    several = sizes > 1
    phi = torch.where(several, means / (sizes + alpha).log(), 0)
    phi = torch.where(several, phi, phi.max())
    phi = phi.clamp(phi.quantile(0.1), phi.quantile(0.9))
    phi = phi.clamp(min=LEAST * phi.mean())
    return torch.where(phi.sum() > 0, temperature * phi / phi.mean(), temperature)


def proto_nce(
    embeddings: Float[Tensor, "B D"],
    prototypes: Float[Tensor, "k D"],
    phi: Float[Tensor, " k"],
    assigned: Int[Tensor, " B"],
    *,
    num_negatives: int,
    generator: torch.Generator,
    repeat_positives: bool = False,
) -> Float[Tensor, ""]:
    r"""Return the mean loss of images against prototypes, their own among them.

    With s the cluster of an image v, S those of all images of the batch and R `num_negatives`
    others, drawn without replacement:

        loss = -log( e^{v . c_s / phi_s} / sum_{j in S or R} e^{v . c_j / phi_j} )

    The authors' code has c_s once more for each further image of its cluster in the batch; here
    every prototype counts once unless `repeat_positives`, so that the loss of an image at its
    prototype goes to 0 whatever the batch.

    Args:
        embeddings: unit rows.
        prototypes: unit rows.
        phi: each prototype's temperature, above 0.
        assigned: cluster of each embedding, in [0, k).
        num_negatives: r, at least 0; all the others where they are fewer.
        generator: of the draw of R.
        repeat_positives: whether prototypes count as in the authors' code.

    Returns:
        A scalar; 0, still part of the graph, for an empty batch.

    Raises:
        ValueError: `num_negatives` is negative.
    """
    if num_negatives < 0:
        raise ValueError(f"num_negatives must be at least 0, got {num_negatives}")
    ours = torch.zeros_like(phi, dtype=torch.bool).index_fill(0, assigned, value=True)
    draw = torch.rand(len(phi), generator=generator, device=generator.device).to(phi.device)
    # Ours come last in the draw's order, above all in [0, 1).
    ranks = draw.masked_fill(ours, 2.0).argsort().argsort()
    kept = ours | (ranks < num_negatives)
    logits = embeddings @ prototypes.T / phi
    own = logits.gather(1, assigned[:, None])
    if repeat_positives:
        times = torch.bincount(assigned, minlength=len(phi)).clamp(min=1)
        logits = logits + times.to(logits).log()
    losses = log_sum_exp(logits, kept.expand_as(logits)) - own
    return losses.sum() / max(1, len(losses))
