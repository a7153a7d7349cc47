"""Everything that is kept is written by `centre_builders.artefact`, or into a folder of its."""

import ast
from pathlib import Path

import pytest

from centre_builders.artefact import _files

ROOT = Path(__file__).parents[2]
CALLS = {
    "torch.save", "np.save", "np.savez", "np.savez_compressed", "faiss.write_index",
    "torch.onnx.export", "torch.export.save", "parquet.write_table", "parquet.ParquetWriter",
    "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move",
}  # fmt: skip
METHODS = {"open", "write_text", "write_bytes", "savefig", "tofile", "save_pretrained"}
KNOWN = {
    "centre_builders/artefact.py": {"open", "write_text"},  # the place itself
    "centre_builders/embedded.py": {"np.save"},  # into memory
    "centre_builders/items.py": {"parquet.ParquetWriter"},  # into memory, or in write_folder
    "semcentres/bundle.py": {"shutil.copy2"},  # in write_folder
    # The lock; records, which are appended; the state, in write_folder.
    "semcentres/checkpoint.py": {"open", "torch.save"},
    "semcentres/data/decoded.py": {"open"},  # in write_folder
    "semcentres/deployed.py": {"torch.export.save", "torch.onnx.export"},  # in bundle.py's
    "semcentres/evaluation/canvas.py": {"savefig"},  # into memory
    "semcentres/faiss_files.py": {"open", "faiss.write_index"},  # in write_folder
}


def writes(tree: ast.AST) -> set[str]:
    """Return the calls that write files, by name; of `open` those for more than reading."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        method = name.rpartition(".")[2]
        if name in CALLS or (method in METHODS and method != "open"):
            found.add(name if name in CALLS else method)
        if method == "open" and any(_is_writing(value) for value in ast.walk(node)):
            found.add("open")
    return found


def _is_writing(node: ast.AST) -> bool:
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and 0 < len(text) < 4 and bool(set(text) & set("wax+"))


def test_every_writer_is_known() -> None:
    found = {}
    for package in ("semcentres", "centre_builders"):
        for path in (ROOT / package).rglob("*.py"):
            names = writes(ast.parse(path.read_text(encoding="utf-8")))
            if names:
                found[str(path.relative_to(ROOT))] = names
    assert found == KNOWN


def test_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    """Its manifest would name no file, and nothing would say so. Found by R10."""
    with pytest.raises(FileNotFoundError):
        _files(tmp_path / "gone")


def test_search_sees_what_it_looks_for() -> None:
    text = (
        "open('f', 'wb'); p.open('a'); p.open('rb'); torch.save(x, p); p.read_text(); f(mode='w')"
    )
    assert writes(ast.parse(text)) == {"open", "torch.save"}
    assert writes(ast.parse("p.open('rb'); open(p)")) == set()
