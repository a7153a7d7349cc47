"""No source of ours opens a pickle, runs what a file says, or unpacks an archive to disk."""

from pathlib import Path

import pytest
from torture_figures.forbidden_calls import forbidden

ROOT = Path(__file__).parents[2]


def test_no_module_has_a_forbidden_call() -> None:
    assert forbidden(ROOT, "semcentres", "centre_builders") == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "import shelve",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "f(x, weights_only=False)",
        "SentenceTransformer(name, trust_remote_code=True)",
        "KeyedVectors.load(path)",
        "archive.extractall(path)",
        "shutil.unpack_archive(path)",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "hydra.utils.instantiate(config)",
        "faiss.read_index(path)",
        "eval(text)",
        "exec(text)",
        "os.system(words)",
    ],
)
def test_each_is_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "m.py").write_text(f"model.eval()\n{line}\n")
    found = forbidden(tmp_path, "p")
    assert found
    assert all(fault.startswith("p/m.py:2 ") for fault in found)


def test_torch_load_is_found_where_it_may_be_but_without_its_keyword(tmp_path: Path) -> None:
    (tmp_path / "semcentres").mkdir()
    (tmp_path / "semcentres" / "checkpoint.py").write_text("torch.load(path)\n")
    told = "semcentres/checkpoint.py:1 torch.load() without weights_only=True"
    assert forbidden(tmp_path, "semcentres") == [told]
