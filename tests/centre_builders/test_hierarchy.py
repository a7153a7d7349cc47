"""Tests of centre_builders.hierarchy: Gram matrices, projection, classes that come later."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from centre_builders.building import build_bank
from centre_builders.changes import add
from centre_builders.errors import InputError
from centre_builders.hierarchy import FLOOR, Hierarchy
from centre_builders.protocol import CentreBuilder, Extensible
from centre_builders.stored import describe_builder, rebuild
from centre_builders.taxonomy import lcs_height_similarity, wu_palmer_similarity
from centre_builders.tree_files import read_taxonomy
from centre_builders.wordnet import DEBIAN

Write = Callable[[str, str | bytes], Path]
# Below two branches, and near the end of both: c resembles a and b, which meet at the root only.
CROSSED = "child,parent\na,m3\nm3,m2\nm2,m1\nm1,r\nc,m3\nc,n\nb,n\nn,r\n"
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_TREE = Path(__file__).parents[2] / "semcentres" / "data" / "trees" / "fashion_mnist.yaml"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return writer


class TestBuilder:
    def gram(self, path: str, names: list[str], measure) -> np.ndarray:  # noqa: ANN001
        taxonomy = read_taxonomy(Path(path))
        return measure(taxonomy, taxonomy.rows_of(names))

    @pytest.mark.parametrize("kind", ["lcs_height", "wu_palmer"])
    def test_gram_of_the_bank_is_the_similarity(self, kind: str) -> None:
        builder = Hierarchy(tree=str(FASHION_TREE), similarity=kind)
        assert isinstance(builder, CentreBuilder)
        assert isinstance(builder, Extensible)
        raw = builder.build(FASHION, seed=0)
        np.testing.assert_array_equal(raw.vectors, np.tril(raw.vectors))
        bank = build_bank(builder, FASHION, dimension=16)
        wanted = self.gram(
            str(FASHION_TREE),
            list(FASHION),
            {"lcs_height": lcs_height_similarity, "wu_palmer": wu_palmer_similarity}[kind],
        )
        np.testing.assert_allclose(bank.vectors @ bank.vectors.T, wanted, atol=1e-5)
        assert bank.provenance["source"]["projected"] is False
        assert bank.provenance["source"]["largest_change"] == 0

    def test_fashion_tree_is_safe_to_train_at_the_default_temperature(self) -> None:
        bank = build_bank(Hierarchy(tree=str(FASHION_TREE)), FASHION, remove_mean=False)
        assert bank.geometry().safe_temperature == pytest.approx(0.264, abs=0.002)

    def test_order_of_names_turns_the_gram_with_it(self) -> None:
        builder = Hierarchy(tree=str(FASHION_TREE))
        there, back = (builder.build(names, seed=0).vectors for names in (FASHION, FASHION[::-1]))
        np.testing.assert_allclose(back @ back.T, (there @ there.T)[::-1, ::-1], atol=1e-12)

    def test_what_is_not_positive_definite_is_projected_and_said(self, write: Write) -> None:
        path = str(write("t.csv", CROSSED))
        similarity = self.gram(path, ["a", "b", "c"], lcs_height_similarity)
        assert similarity.tolist() == [[1, 0, 0.75], [0, 1, 0.75], [0.75, 0.75, 1]]
        bank = build_bank(Hierarchy(tree=path), ["a", "b", "c"], dimension=5)
        # By symmetry [[1, x, y], [x, 1, y], [y, y, 1]] is the nearest. Its least eigenvalue is f
        # where (1 + x - f) (1 - f) = 2 y^2, or x = a y^2 + f - 1 with a = 2 / (1 - f), and the
        # distance 4 (y - 3/4)^2 + 2 x^2 is least where 4 a^2 y^3 - 4 y - 3 = 0.
        a = 2 / (1 - FLOOR)
        y = max(r.real for r in np.roots([4 * a**2, 0, -4, -3]) if abs(r.imag) < 1e-12)
        x = a * y**2 + FLOOR - 1
        wanted = [[1, x, y], [x, 1, y], [y, y, 1]]
        np.testing.assert_allclose(bank.vectors @ bank.vectors.T, wanted, atol=1e-4)
        source = bank.provenance["source"]
        assert source["projected"] is True
        assert source["largest_change"] == pytest.approx(max(abs(x), 0.75 - y), abs=1e-4)

    def test_is_rebuilt_from_its_description(self) -> None:
        builder = Hierarchy(similarity="wu_palmer", senses={"cardigan": "cardigan.n.02"})
        assert rebuild(describe_builder(builder)) == builder

    @pytest.mark.skipif(not Path(DEBIAN).is_dir(), reason="needs Debian's wordnet-base")
    def test_wordnet_by_default_with_synsets_as_texts(self) -> None:
        bank = build_bank(Hierarchy(), ["cat", "dog", "boot"], dimension=7)
        assert bank.texts == ("cat.n.01", "dog.n.01", "boot.n.01")
        cosines = bank.vectors @ bank.vectors.T
        assert cosines[0, 1] > cosines[0, 2] > 0

    @pytest.mark.parametrize(
        ("keywords", "names", "fault"),
        [
            (
                {"tree": "t.csv", "senses": {"a": "b.n.01"}},
                ["a"],
                "choose in WordNet, but the tree",
            ),
            ({"tree": "t.csv", "wordnet": "wn"}, ["a"], "choose in WordNet, but the tree"),
            ({"senses": {"dgo": "dog.n.01"}}, ["dog"], "senses names 'dgo', which is no class"),
            ({"tree": str(FASHION_TREE)}, ["Bag", "Boots"], "fashion_mnist.yaml: .*no 'Boots'"),
        ],
    )
    def test_refuses(self, keywords: dict[str, object], names: list[str], fault: str) -> None:
        with pytest.raises(InputError, match=fault):
            Hierarchy(**keywords).build(names, seed=0)

    def test_refuses_a_similarity_that_does_not_exist(self) -> None:
        """Made without __init__, where the tests' type checker is first; users have none."""
        builder = object.__new__(Hierarchy)
        object.__setattr__(builder, "similarity", "path")
        with pytest.raises(
            InputError, match="similarity is 'path', wanted lcs_height or wu_palmer"
        ):
            builder.__post_init__()


class TestExtend:
    builder = Hierarchy(tree=str(FASHION_TREE))
    whole = build_bank(builder, FASHION, dimension=14)

    @pytest.mark.parametrize("old", [1, 4, 9])
    def test_added_classes_complete_the_gram(self, old: int) -> None:
        bank = build_bank(self.builder, FASHION[:old], dimension=14)
        grown = add(bank, FASHION[old:])
        np.testing.assert_array_equal(grown.vectors[:old], bank.vectors)
        gram = grown.vectors @ grown.vectors.T
        np.testing.assert_allclose(gram, self.whole.vectors @ self.whole.vectors.T, atol=1e-5)

    def test_one_after_the_other_and_after_a_rotation(self) -> None:
        q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((14, 14)))
        turned = (build_bank(self.builder, FASHION[:7], dimension=14).vectors @ q).astype("f4")
        rows = turned
        for place in range(7, 10):
            new = self.builder.extend(rows, FASHION[:place], [FASHION[place]], seed=3)
            rows = np.vstack([rows, new.astype("f4")])
        np.testing.assert_allclose(
            rows @ rows.T, self.whole.vectors @ self.whole.vectors.T, atol=1e-5
        )

    def test_is_of_least_norm_within_the_span(self) -> None:
        old = build_bank(self.builder, FASHION[:6], dimension=14).vectors.astype("f8")
        new = self.builder.extend(old, FASHION[:6], FASHION[6:7], seed=0)[0]
        wanted = np.linalg.pinv(old) @ (self.whole.vectors[:6] @ self.whole.vectors[6])
        projector = np.linalg.pinv(old) @ old
        np.testing.assert_allclose(projector @ new, wanted, atol=1e-6)
        assert math.hypot(*new) == pytest.approx(1)

    def test_seed_draws_the_free_direction(self) -> None:
        old = build_bank(self.builder, FASHION[:6], dimension=14).vectors
        first, again, other = (
            self.builder.extend(old, FASHION[:6], FASHION[6:8], seed=s) for s in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 0.1

    def test_extends_projected_centres(self, write: Write) -> None:
        path = str(write("t.csv", CROSSED + "d,r\n"))
        builder = Hierarchy(tree=path)
        grown = add(build_bank(builder, ["a", "b", "c"], dimension=4), ["d"])
        np.testing.assert_allclose(grown.vectors[3] @ grown.vectors[:3].T, 0, atol=1e-6)

    def test_refuses_where_no_dimension_is_left(self) -> None:
        bank = build_bank(self.builder, FASHION[:8], dimension=9)
        with pytest.raises(InputError, match=r"'Ankle boot' has no dimension .*dimension=10 or"):
            add(bank, FASHION[8:])
        assert len(add(bank, FASHION[8:9]).names) == 9

    def test_refuses_centres_that_are_not_the_hierarchys(self) -> None:
        bank = build_bank(self.builder, FASHION[:8], dimension=12, remove_mean=True)
        with pytest.raises(InputError, match=r"have a cosine of .*build the bank anew"):
            add(bank, ["Bag"])
        said = "'T-shirt/top' and 'Shirt' have a cosine of 0.000 in the bank and 0.750 in the hier"
        with pytest.raises(InputError, match=said):
            self.builder.extend(np.eye(8, 12), FASHION[:8], ["Bag"], seed=0)

    def test_refuses_similarities_that_no_vector_has(self, write: Write) -> None:
        bank = build_bank(Hierarchy(tree=str(write("t.csv", CROSSED))), ["a", "b"], dimension=4)
        with pytest.raises(InputError, match="no unit vectors have the hierarchy's similarities"):
            add(bank, ["c"])
