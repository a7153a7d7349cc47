"""Centres by geometry: closed forms, bounds, the optimiser, and its trade with meaning."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.stats import rankdata

from centre_builders import spreading, trade_off
from centre_builders.building import build_bank
from centre_builders.changes import add
from centre_builders.cosine_bounds import cosine_bound
from centre_builders.errors import InputError
from centre_builders.one_hot import OneHot
from centre_builders.protocol import RawCentres
from centre_builders.random_orthogonal import RandomOrthogonal
from centre_builders.semantic_separated import SemanticSeparated
from centre_builders.separated import Separated
from centre_builders.simplex import Simplex
from centre_builders.sphere import largest_cosine, normalise
from centre_builders.stored import describe_builder, rebuild


def names(num: int) -> list[str]:
    return [f"class {i}" for i in range(num)]


def unit_rows(num: int, dimension: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((num, dimension))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_pairs(rows: np.ndarray) -> list[float]:
    return [float(rows[i] @ rows[j]) for i in range(len(rows)) for j in range(i)]


def by_recursion(num: int) -> np.ndarray:
    """The simplex's columns, one dimension after the other; shares nothing with Helmert's."""
    points = np.array([[1.0, -1.0]])
    for k in range(2, num):
        head = np.array([[1.0, *[-1 / k] * k]])
        points = np.vstack([head, np.hstack([np.zeros((k - 1, 1)), math.sqrt(1 - k**-2) * points])])
    return points.T


class TestSimplex:
    @pytest.mark.parametrize("num", [2, 3, 7])
    def test_has_the_angles_of_the_recursion(self, num: int) -> None:
        rows = Simplex().build(names(num), seed=0).vectors
        assert rows.shape == (num, num - 1)
        np.testing.assert_allclose(
            rows @ rows.T, by_recursion(num) @ by_recursion(num).T, atol=1e-12
        )

    def test_lifted_bank_keeps_the_angles(self) -> None:
        bank = build_bank(Simplex(), names(7), dimension=11)
        assert bank.dimension == 11
        np.testing.assert_allclose(by_pairs(bank.vectors), -1 / 6, atol=1e-6)
        np.testing.assert_allclose(bank.vectors.sum(axis=0), 0, atol=1e-6)

    def test_of_2000_classes(self) -> None:
        rows = Simplex().build(names(2000), seed=0).vectors
        assert rows.shape == (2000, 1999)
        some = rows[[0, 1, 2, 998, 1999]]
        np.testing.assert_allclose(
            some @ rows.T, np.eye(2000)[[0, 1, 2, 998, 1999]] * 2000 / 1999 - 1 / 1999, atol=1e-12
        )

    def test_of_one_class(self) -> None:
        np.testing.assert_array_equal(Simplex().build(["a"], seed=0).vectors, [[1.0]])

    def test_refuses_fewer_dimensions_and_further_classes(self) -> None:
        with pytest.raises(InputError, match=r"5 classes need 4 dimensions, got 3"):
            build_bank(Simplex(), names(5), dimension=3)
        with pytest.raises(InputError, match=r"Simplex has no place for a further class"):
            add(build_bank(Simplex(), names(5)), ["new"])


@pytest.mark.parametrize(("num", "dimension"), [(8, 6), (9, 6), (12, 6), (4, 2), (2, 1)])
def test_up_to_twice_the_dimensions_is_exact(num: int, dimension: int) -> None:
    raw = Separated(dimension=dimension).build(names(num), seed=1)
    wanted = 0 if num > dimension + 1 else -1 / (num - 1)
    assert raw.vectors.shape == (num, dimension)
    np.testing.assert_allclose(np.linalg.norm(raw.vectors, axis=1), 1)
    assert max(by_pairs(raw.vectors)) == pytest.approx(wanted, abs=1e-12)
    np.testing.assert_allclose(raw.vectors.sum(axis=0), 0, atol=1e-12)
    assert raw.source["bound"] == pytest.approx(wanted)


def test_twice_the_dimensions_is_the_cross_polytope() -> None:
    rows = Separated(dimension=5).build(names(10), seed=0).vectors
    np.testing.assert_allclose(np.sort(rows @ rows.T), [[-1, *[0] * 8, 1]] * 10, atol=1e-12)


def test_fewer_classes_are_a_simplex_that_a_bank_may_reduce() -> None:
    bank = build_bank(Separated(dimension=9), names(4), dimension=3)
    np.testing.assert_allclose(by_pairs(bank.vectors), -1 / 3, atol=1e-6)
    with pytest.raises(InputError, match=r"need 3 dimensions, got 2"):
        build_bank(Separated(dimension=9), names(4), dimension=2)


def test_in_the_plane_is_the_polygon() -> None:
    rows = Separated(dimension=2).build(names(7), seed=3).vectors
    angles = np.sort(np.arctan2(rows[:, 1], rows[:, 0]))
    np.testing.assert_allclose(np.diff(angles), 2 * math.pi / 7)
    assert cosine_bound(7, 2) == (pytest.approx(math.cos(2 * math.pi / 7)), "polygon")


@pytest.mark.parametrize(
    ("num", "dimension", "cosine"),
    [
        (12, 3, 5**-0.5), (16, 5, 1 / 5), (27, 6, 1 / 4), (56, 7, 1 / 3), (240, 8, 1 / 2),
        (162, 21, 1 / 7), (100, 22, 1 / 11), (275, 22, 1 / 6), (552, 23, 1 / 5),
        (4600, 23, 1 / 3), (196560, 24, 1 / 2),
    ],
)  # fmt: skip
def test_bound_is_that_of_the_sharp_codes(num: int, dimension: int, cosine: float) -> None:
    """Icosahedron to Leech lattice, whose angles are known (Cohn & Kumar 2007, table 1)."""
    assert cosine_bound(num, dimension) == (pytest.approx(cosine, abs=1e-9), "Levenshtein")


@pytest.mark.parametrize(("num", "d"), [(1000, 128), (100, 16)])
def test_bound_of_order_three_has_closed_form(num: int, d: int) -> None:
    s, _ = cosine_bound(num, d)
    assert d * (1 - s) * (2 + (d + 1) * s) / (1 - d * s * s) == pytest.approx(num)


def test_bound_rises_with_the_classes_and_falls_with_the_dimensions() -> None:
    for d in (3, 4, 7):
        bounds = [cosine_bound(num, d)[0] for num in range(1, 100)]
        assert (np.diff(bounds[1:]) >= 0).all()
        assert (np.diff(bounds[2 * d :]) > 0).all()
    assert (np.diff([cosine_bound(50, d)[0] for d in range(2, 60)]) <= 0).all()


@pytest.mark.parametrize(
    ("num", "dimension", "cosine"),
    [(9, 3, 1 / 3), (12, 3, 5**-0.5), (16, 5, 1 / 5), (27, 6, 1 / 4)],
)
def test_reaches_the_sharp_codes(num: int, dimension: int, cosine: float) -> None:
    raw = Separated(dimension=dimension).build(names(num), seed=0)
    assert max(by_pairs(raw.vectors)) == pytest.approx(cosine, abs=5e-5)
    assert raw.source["largest_cosine"] == pytest.approx(max(by_pairs(raw.vectors)))


def test_starts_of_all_kinds_come_near_the_best_of_13_points() -> None:
    """57.1367 degrees (Musin & Tarasov 2012); from blunt starts alone, a cosine of 0.551."""
    source = Separated(dimension=3).build(names(13), seed=0).source
    assert source["largest_cosine"] == pytest.approx(math.cos(math.radians(57.1367)), abs=0.006)


@pytest.mark.parametrize(("num", "dimension"), [(11, 4), (40, 6), (90, 3)])
def test_is_between_the_bound_and_random_draws(num: int, dimension: int) -> None:
    source = Separated(dimension=dimension, steps=20).build(names(num), seed=0).source
    drawn = RandomOrthogonal(dimension=dimension).build(names(num), seed=0).vectors
    assert source["bound"] - 1e-9 <= source["largest_cosine"] < largest_cosine(drawn) - 0.02
    assert source["largest_cosine"] < source["bound"] + 0.15


@pytest.mark.parametrize("num", [4, 9, 15])
def test_seed_says_which(num: int) -> None:
    builder = Separated(dimension=5, steps=5)
    first, again, other = (builder.build(names(num), seed=s).vectors for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize("num_fixed", [0, 3])
def test_smooth_maximum_is_that_of_the_pairs(
    num_fixed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreading, "BLOCK", 2)
    rows, fixed = unit_rows(5, 4), unit_rows(num_fixed, 4, seed=1)

    def value(flat: np.ndarray) -> float:
        x = flat.reshape(5, 4)
        cosines = [*by_pairs(x), *(float(a @ b) for a in x for b in fixed)]
        return math.log(sum(math.exp(7 * c) for c in cosines)) / 7

    found, gradient = spreading.smooth_maximum(rows, fixed=fixed, sharpness=7.0)
    assert found == pytest.approx(value(rows.ravel()))
    np.testing.assert_allclose(gradient.ravel(), approx_fprime(rows.ravel(), value), atol=1e-6)
    largest = max([*by_pairs(rows), *(rows @ fixed.T).ravel()])
    assert spreading.largest_cosine_to(rows, fixed) == pytest.approx(largest)


def test_minimiser_finds_the_smallest_eigenvector() -> None:
    matrix = np.random.default_rng(0).standard_normal((6, 6))
    matrix = matrix + matrix.T
    rows = spreading.minimise_on_sphere(
        lambda u: (float(np.einsum("nd,de,ne->", u, matrix, u)), 2 * u @ matrix),
        5 * unit_rows(1, 6),
        200,
    )
    values, vectors = np.linalg.eigh(matrix)
    assert rows[0] @ matrix @ rows[0] == pytest.approx(values[0])
    assert abs(rows[0] @ vectors[:, 0]) == pytest.approx(1)


class TestSeparatedExtends:
    def test_opposite_to_two_axes(self) -> None:
        new = Separated().extend(np.eye(2, 3), names(2), ["new"], seed=0)
        np.testing.assert_allclose(new, [[-(0.5**0.5), -(0.5**0.5), 0]], atol=1e-3)

    def test_completes_the_cross_polytope(self) -> None:
        whole = Separated(dimension=4).build(names(8), seed=0).vectors
        new = Separated().extend(whole[2:], names(6), ["x", "y"], seed=0)
        assert max(by_pairs(np.vstack([whole[2:], new]))) < 1e-3

    def test_no_random_place_is_better(self) -> None:
        old = unit_rows(9, 4)
        new = Separated().extend(old, names(9), ["new"], seed=0)
        tried = (unit_rows(20_000, 4, seed=2) @ old.T).max(axis=1).min()
        assert (new @ old.T).max() <= tried
        np.testing.assert_allclose(np.linalg.norm(new, axis=1), 1)

    def test_bank_keeps_its_centres(self) -> None:
        bank = build_bank(Separated(dimension=4, steps=20), names(11), seed=2)
        more = add(bank, ["x", "y"])
        np.testing.assert_array_equal(more.vectors[:11], bank.vectors)
        assert more.geometry().max_cosine < 0.75


@pytest.mark.parametrize(("dimension", "wanted"), [(1, 2), (0, 2), (-1, 2)])
def test_refuses_dimensions(dimension: int, wanted: int) -> None:
    for builder in (
        Separated(dimension=dimension),
        SemanticSeparated(base=OneHot(), dimension=dimension),
    ):
        with pytest.raises(InputError, match=f"at least {wanted} for 3 classes, got {dimension};"):
            builder.build(names(3), seed=0)


def test_refuses_steps_and_cosines() -> None:
    with pytest.raises(InputError, match="steps=0"):
        Separated(steps=0)
    with pytest.raises(InputError, match="steps=-1"):
        SemanticSeparated(base=OneHot(), steps=-1)
    for cap in (1.5, -1.01, math.nan):
        with pytest.raises(InputError, match=f"largest_cosine={cap} is no cosine"):
            SemanticSeparated(base=OneHot(), largest_cosine=cap)


@dataclass(frozen=True, kw_only=True)
class Given:
    """A base of the first so many of known rows; notes what it was asked for."""

    rows: np.ndarray
    shares_mean: bool = False

    def build(
        self, names: Sequence[str], *, seed: int, descriptions: Mapping[str, str] | None = None
    ) -> RawCentres:
        texts = tuple((descriptions or {}).get(name, name) for name in names)
        return RawCentres(self.rows[: len(names)], texts, {"seed": seed}, self.shares_mean)


def capped(rows: np.ndarray, cap: float, dimension: int, **more: bool) -> RawCentres:
    base = Given(rows=rows, **more)
    builder = SemanticSeparated(base=base, largest_cosine=cap, dimension=dimension)
    return builder.build(names(len(rows)), seed=0)


def test_without_need_the_angles_are_the_bases() -> None:
    rows = unit_rows(7, 4)
    found = capped(3 * rows, 1.0, 5)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, rows @ rows.T, atol=1e-3)
    assert found.source["reached"]["gram_error"] < 1e-3
    assert found.source["reached"]["rank_correlation"] > 0.999


def test_a_pair_too_close_is_put_at_the_cap() -> None:
    rows = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 0, 1.0]])
    gram = capped(rows, 0.3, 4).vectors @ capped(rows, 0.3, 4).vectors.T
    np.testing.assert_allclose(gram, [[1, 0.3, 0], [0.3, 1, 0], [0, 0, 1]], atol=2e-3)


def test_is_as_good_as_sequential_quadratic_programming() -> None:
    """Another method, with the cap as its constraint, from several starts."""
    rows, cap = unit_rows(5, 3, seed=4), 0.35
    wanted = np.array(by_pairs(rows))

    def cosines(flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(5, 3)
        return np.array(by_pairs(x / np.linalg.norm(x, axis=1, keepdims=True)))

    best = min(
        minimize(
            lambda flat: np.mean((cosines(flat) - wanted) ** 2),
            (rows + 0.2 * unit_rows(5, 3, seed=s)).ravel(),
            method="SLSQP",
            constraints={"type": "ineq", "fun": lambda flat: cap - cosines(flat)},
        ).fun
        for s in range(3)
    )
    assert wanted.max() > cap + 0.1
    reached = capped(rows, cap, 3).source["reached"]
    assert reached["largest_cosine"] < cap + 0.003
    assert reached["gram_error"] == pytest.approx(math.sqrt(best), abs=0.003)


def test_trade_off_is_monotone_and_measured_as_said() -> None:
    rows = unit_rows(9, 5)
    points = trade_off.trade_off(rows @ rows.T, 6, caps=[0.0, 0.5, 0.25], seed=0)
    assert [point.cap for point in points] == [None, 0.5, 0.25, 0.0]
    errors = [point.gram_error for point in points]
    assert errors[0] < 1e-3
    assert (np.diff(errors) > 0.01).all()
    assert all(p.largest_cosine == pytest.approx(p.cap, abs=0.01) for p in points[1:])

    found = capped(rows, 0.25, 6)
    pairs, wanted = by_pairs(found.vectors), by_pairs(rows)
    reached = found.source["reached"]
    assert reached["largest_cosine"] == pytest.approx(max(pairs))
    rms = math.sqrt(sum((a - b) ** 2 for a, b in zip(pairs, wanted, strict=True)) / 36)
    assert reached["gram_error"] == pytest.approx(rms)
    ranks = np.corrcoef(rankdata(pairs), rankdata(wanted))[0, 1]
    assert reached["rank_correlation"] == pytest.approx(ranks)


def test_source_holds_the_curve_as_json() -> None:
    source = capped(unit_rows(9, 5), 0.25, 6).source
    assert json.loads(json.dumps(source, allow_nan=False)) == source
    curve = source["trade_off"]
    assert source["reached"] in curve
    assert len(curve) == 6
    assert (np.diff([point["largest_cosine"] for point in curve]) < 0).all()
    assert (np.diff([point["gram_error"] for point in curve]) > 0).all()


def test_any_symmetric_matrix_may_be_wanted() -> None:
    """Three classes that all want to be opposite: the nearest that there is is the simplex."""
    gram = 2 * np.eye(3) - 1
    point = trade_off.trade_off(gram, 4, caps=[], seed=0)[0]
    assert point.largest_cosine == pytest.approx(-0.5, abs=1e-3)
    assert point.rank_correlation is None


def test_a_shared_mean_is_removed() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4))
    shared = capped(rows + 5, 0.4, 7, shares_mean=True)
    own = capped(rows - rows.mean(axis=0), 0.4, 7)
    assert not shared.shares_mean
    np.testing.assert_allclose(by_pairs(shared.vectors), by_pairs(own.vectors), atol=1e-6)


def test_equal_rows_are_parted() -> None:
    rows = np.eye(3)[[0, 0, 1, 2]]
    assert max(by_pairs(capped(rows, 0.3, 5).vectors)) == pytest.approx(0.3, abs=5e-3)


def test_a_cap_is_met_by_more_rounds_and_too_few_steps_are_said() -> None:
    """Thirty names in three tight groups, by two steps a round, then by one."""
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((3, 8))[rng.integers(0, 3, 30)]
    base = Given(rows=normalise(groups + 0.1 * rng.standard_normal(groups.shape)))
    slow = SemanticSeparated(base=base, largest_cosine=0.2, dimension=24, steps=2)
    assert max(by_pairs(slow.build(names(30), seed=0).vectors)) < 0.206
    with pytest.raises(InputError, match=r"=0\.2 was not met in 1 steps a round; .* more .*steps"):
        replace(slow, steps=1).build(names(30), seed=0)


def test_descriptions_reach_the_base() -> None:
    builder = SemanticSeparated(base=Given(rows=np.eye(3)), dimension=5)
    raw = builder.build(["a", "b", "c"], seed=8, descriptions={"b": "a bee"})
    assert raw.texts == ("a", "a bee", "c")
    assert raw.source["base"] == {"seed": 8}


@pytest.mark.parametrize(
    ("num", "cap", "dimension", "said"),
    [
        (1, 0.3, 4, "2 to 10000 classes, got 1;"),
        (5, -0.3, 6, r"5 classes in 6 dimensions cannot keep .*=-0\.3, .* is -0\.250; build"),
        (9, 0.05, 3, r"9 classes in 3 dimensions cannot keep .*=0\.05, .* is 0\.290; build"),
        (7, 0.17, 3, r"7 classes in 3 dimensions cannot keep .*=0\.17, .* is 0\.210; build"),
    ],
)
def test_refuses_what_cannot_be(num: int, cap: float, dimension: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        capped(unit_rows(num, 7), cap, dimension)


class TestSemanticExtends:
    def test_new_class_has_the_angles_of_the_base(self) -> None:
        rows = unit_rows(8, 5)
        builder = SemanticSeparated(base=Given(rows=rows), largest_cosine=1.0, dimension=6)
        old = builder.build(names(6), seed=0).vectors
        new = builder.extend(old.astype(np.float32), names(6), ["x", "y"], seed=0)
        gram = np.vstack([old, new]) @ np.vstack([old, new]).T
        np.testing.assert_allclose(gram, rows @ rows.T, atol=5e-3)

    def test_new_class_keeps_the_cap(self) -> None:
        rows = np.vstack([np.eye(4), [0.8, 0.6, 0, 0], [0.81, 0.59, 0, 0]])
        builder = SemanticSeparated(base=Given(rows=rows), largest_cosine=0.4, dimension=6)
        new = builder.extend(np.eye(4, 6), names(4), ["x", "y"], seed=0)
        both = np.vstack([np.eye(4, 6), new])
        assert max(by_pairs(both)) == pytest.approx(0.4, abs=5e-3)
        np.testing.assert_allclose(new[:, 2:4], 0, atol=0.02)

    def test_mean_of_the_old_is_removed(self) -> None:
        rows = unit_rows(5, 3) + 4
        base = Given(rows=rows, shares_mean=True)
        builder = SemanticSeparated(base=base, largest_cosine=1.0, dimension=5)
        old = builder.build(names(4), seed=0).vectors
        new = builder.extend(old, names(4), ["x"], seed=0)[0]
        centred = rows - rows[:4].mean(axis=0)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        np.testing.assert_allclose(old @ new, centred[:4] @ centred[4], atol=5e-3)

    def test_bank_keeps_its_centres_and_its_builder(self) -> None:
        builder = SemanticSeparated(base=OneHot(), dimension=9)
        assert rebuild(json.loads(json.dumps(describe_builder(builder)))) == builder
        bank = build_bank(builder, names(5))
        more = add(bank, ["new"])
        np.testing.assert_array_equal(more.vectors[:5], bank.vectors)
        np.testing.assert_allclose(more.vectors[5] @ bank.vectors.T, 0, atol=5e-3)

    def test_refuses_where_there_is_no_place(self) -> None:
        builder = SemanticSeparated(base=OneHot(), largest_cosine=0.3, dimension=2)
        with pytest.raises(InputError, match=r"5 classes .* is 0\.707; build"):
            builder.extend(np.vstack([np.eye(2), -np.eye(2)]), names(4), ["x"], seed=0)


@pytest.mark.parametrize("num_fixed", [0, 3])
def test_objective_is_that_of_the_pairs(num_fixed: int) -> None:
    rows, fixed = unit_rows(4, 5), unit_rows(num_fixed, 5, seed=1)
    wanted = np.random.default_rng(2).uniform(-1, 1, (4, 4 + num_fixed))
    wanted[:, :4] = (wanted[:, :4] + wanted[:, :4].T) / 2
    shift = np.full(wanted.shape, -0.1)
    np.fill_diagonal(shift, -np.inf)

    def value(flat: np.ndarray) -> float:
        x = flat.reshape(4, 5)
        others = np.vstack([x, fixed])
        costs = [
            (x[i] @ others[j] - wanted[i, j]) ** 2
            + trade_off.PENALTY * max(x[i] @ others[j] - 0.1, 0) ** 2
            for i in range(4)
            for j in range(i + 1, 4 + num_fixed)
        ]
        return float(np.mean(costs))

    found, gradient = trade_off._objective(rows, fixed=fixed, wanted=wanted, shift=shift)
    assert found == pytest.approx(value(rows.ravel()))
    np.testing.assert_allclose(gradient.ravel(), approx_fprime(rows.ravel(), value), atol=1e-5)
