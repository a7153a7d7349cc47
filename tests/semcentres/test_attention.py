"""The pass over many centres without the matrix, against the matrix in float64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semcentres import attention, softmin
from semcentres.attention import Attended, attend, in_blocks
from semcentres.objectives.centre_softmax import centre_softmax
from semcentres.objectives.cluster_energy import ClusterEnergy, Tie, unlabelled_energy

MANY = softmin.LARGE + 77


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=rng, dtype=torch.float64), dim=-1).to(dtype)


def by_matrix(z: Tensor, c: Tensor, scale: float) -> Attended:
    logits = scale * z.double() @ c.double().T
    return Attended(logits.softmax(dim=1) @ c.double(), logits.logsumexp(dim=1))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 128 centres and, for the mean assignment, of 100."""
    monkeypatch.setattr(attention, "BLOCK_BYTES", 1)
    monkeypatch.setattr(softmin, "BLOCK", 100)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("way", [attend, in_blocks])
@pytest.mark.parametrize("scale", [0.5, 40.0, 4000.0])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 2e-3)])
def test_equals_the_matrix(
    way: Callable[..., Attended], scale: float, dtype: torch.dtype, error: float
) -> None:
    """Also where exp(scale) overflows; float32 is wrong by scale * 2^-24 in the exponent."""
    z, c = unit(5, 7, dtype=dtype), unit(1000, 7, seed=1, dtype=dtype)
    found, wanted = way(z, c, scale=scale), by_matrix(z, c, scale)
    assert found.mean.dtype == found.lse.dtype == dtype
    torch.testing.assert_close(found.mean.double(), wanted.mean, atol=error, rtol=0)
    torch.testing.assert_close(found.lse.double(), wanted.lse, atol=error, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_summed_in_float32(dtype: torch.dtype) -> None:
    """The sum of 4,000 equal terms, which a half type cannot count."""
    z, c = unit(3, 8, dtype=dtype), unit(1, 8, seed=1, dtype=dtype).expand(4000, 8)
    found, wanted = attend(z, c, scale=1.0), by_matrix(z, c, 1.0)
    assert found.lse.dtype == torch.float32
    torch.testing.assert_close(found.lse.double(), wanted.lse, atol=1e-5, rtol=0)


def test_the_fused_kernel_is_found_here() -> None:
    """Should PyTorch rename it, the blocks serve, and this says that the fast way is lost."""
    assert attention._kernel("cpu") is attention._flash_cpu


def test_a_kernel_that_is_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(queries: Tensor, centres: Tensor, scale: float) -> Attended:
        return in_blocks(queries, centres, scale=2 * scale)

    def gone(queries: Tensor, centres: Tensor, scale: float) -> Attended:
        raise AttributeError("no such operator")

    for kernel in (wrong, gone):
        attention._kernel.cache_clear()
        monkeypatch.setattr(attention, "_flash_cpu", kernel)
        assert attention._kernel("cpu") is None
        z, c = unit(3, 8), unit(50, 8, seed=1)
        torch.testing.assert_close(attend(z, c, scale=3.0).lse, by_matrix(z, c, 3.0).lse)
    attention._kernel.cache_clear()


@pytest.mark.usefixtures("small_blocks")
def test_large_and_small_numbers_of_centres_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Value and gradient of everything that has two ways."""
    z, c = unit(6, 5).requires_grad_(), unit(MANY, 5, seed=1)
    labels = torch.tensor([0, 5, 1100, 3, 700, 2])
    batch = unit(6, 5, seed=2)

    def everything() -> dict[str, Tensor]:
        return {
            "softmin": softmin.softmin(z, c, temperature=0.2),
            "mean": softmin.mean_assignment(z, c, temperature=0.2),
            "cross-entropy": centre_softmax(z, c, labels, temperature=0.1),
            "expected": softmin.expected_centre(z, c, temperature=0.2),
            "nearest": softmin.nearest(z, c),
            "soft tie": unlabelled_energy([batch, z], c, temperature=0.2, sharpening=0.5),
            "hard tie": unlabelled_energy([batch, z], c, temperature=0.2, tie=Tie.HARD),
        }

    def gradients(found: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = {k: torch.arange(1.0, 1 + v.numel()).double() for k, v in found.items()}
        return {
            k: torch.autograd.grad((weights[k] * v.flatten()).sum(), z)[0]
            for k, v in found.items()
            if v.requires_grad
        }

    large = everything()
    assert (
        "LogNormaliser"
        in type(large["softmin"].grad_fn.next_functions[0][0].next_functions[0][0]).__name__
    )  # noqa: E501  # type: ignore[union-attr]
    slopes = gradients(large)
    assert len(slopes) == 5
    monkeypatch.setattr(softmin, "LARGE", MANY)
    monkeypatch.setattr("semcentres.objectives.centre_softmax.LARGE", MANY)
    small = everything()
    torch.testing.assert_close(large, small)
    torch.testing.assert_close(slopes, gradients(small))


def test_gradient_is_that_of_the_value_and_so_is_the_second() -> None:
    z, c = unit(4, 5).requires_grad_(), unit(MANY, 5, seed=1)
    assert torch.autograd.gradcheck(lambda z: softmin.softmin(z, c, temperature=0.3), z)
    assert torch.autograd.gradcheck(lambda z: softmin.mean_assignment(z, c, temperature=0.3), z)
    assert torch.autograd.gradgradcheck(lambda z: softmin.softmin(z, c, temperature=0.3), z)


def test_centres_get_no_gradient() -> None:
    z, c = unit(4, 5).requires_grad_(), unit(MANY, 5, seed=1).requires_grad_()
    softmin.softmin(z, c, temperature=0.3).sum().backward()
    assert z.grad is not None
    assert c.grad is None


def test_nothing_of_the_size_of_the_matrix_is_held() -> None:
    """No tensor of a whole training step is larger than a share of B x K, gradient included."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
            result = func(*args, **(kwargs or {}))
            for found in result if isinstance(result, tuple | list) else [result]:
                if isinstance(found, Tensor):
                    self.most = max(self.most, found.untyped_storage().nbytes())
            return result

    z, c = unit(512, 4).float().requires_grad_(), unit(200_000, 4, seed=1).float()
    with Largest() as seen:
        value = softmin.softmin(z, c, temperature=0.2).sum()
        value = value + unlabelled_energy([z.detach(), z], c, temperature=0.2)
        value = value + centre_softmax(z, c, torch.zeros(512).long(), temperature=0.1).sum()
        value = value + softmin.mean_assignment(z, c, temperature=0.2).square().sum()
        value.backward()
    assert c.nbytes <= seen.most < 512 * 200_000 * 4 / 10


def test_cluster_energy_trains_toward_many_centres() -> None:
    """The whole objective by both ways: equal loss and gradient."""
    from semcentres.objectives.batch import EmbeddedBatch

    z, c = unit(6, 5).requires_grad_(), unit(MANY, 5, seed=1)
    rows = torch.arange(3)

    def loss() -> Tensor:
        batch = EmbeddedBatch(
            labelled=(z[:3],), labels=rows, unlabelled=(z[3:].detach(), z[3:]), centres=c,
            progress=0.5, labelled_rows=rows, unlabelled_rows=rows,
        )  # fmt: skip
        return ClusterEnergy(sharpening=0.5)(batch)["loss"]

    found = loss(), torch.autograd.grad(loss(), z)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(softmin, "LARGE", MANY)
        torch.testing.assert_close(found, (loss(), torch.autograd.grad(loss(), z)))
