"""Calls that open pickles, run what a file says, or unpack archives, found in source.

Ruff's S301 and its like see some of them; these are all, and each has at most one place.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

# Modules whose import is already a fault; UnpicklingError is only caught.
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# The last part of a call's name, to the files that may have it.
CALLS = {
    "eval": (), "exec": (), "extractall": (), "unpack_archive": (), "unsafe_load": (),
    "full_load": (), "load_from_checkpoint": (), "read_pickle": (), "import_from_string": (),
}  # fmt: skip
# A whole name as it is written, likewise.
NAMES = {
    "yaml.load": (),
    "os.system": (),
    "os.popen": (),
    "KeyedVectors.load": ("centre_builders/import_vectors.py",),
    "torch.jit.load": ("semcentres/deployed.py",),  # of what was written a moment before
    "torch.export.load": ("semcentres/deployed.py",),
    "torch.load": ("semcentres/checkpoint.py", "semcentres/backbones.py"),
    "hydra.utils.instantiate": (),
    "instantiate": ("semcentres/components.py",),
    "faiss.read_index": ("semcentres/faiss_files.py",),
}
# A keyword that such a call must have, and any call may only have so.
KEYWORDS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
ONLY = {"weights_only": True, "allow_pickle": False, "trust_remote_code": False}


def forbidden(root: Path, *packages: str) -> list[str]:
    """Return what is forbidden in the packages below a folder, one line each: file:line, what."""
    found = []
    for path in sorted(p for package in packages for p in (root / package).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{name}:{line} {what}" for line, what in _faults(tree, name)]
    return found


def _faults(tree: ast.AST, file: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [(node.module or "", alias.name) for alias in node.names]
        else:
            imported = []
        for module, name in imported:
            if module.split(".")[0] in MODULES and name != "UnpicklingError":
                yield node.lineno, f"import of {module}"
        if isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _call_faults(node, file))


def _call_faults(call: ast.Call, file: str) -> Iterator[str]:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    is_method = isinstance(call.func, ast.Attribute) and last in ("eval", "exec")  # model.eval()
    if last in CALLS and not is_method and file not in CALLS[last]:
        yield f"{name}()"
    if name in NAMES and file not in NAMES[name]:
        yield f"{name}()"
    given = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
    if name in KEYWORDS:
        key, wanted = KEYWORDS[name]
        if given.get(key, "left out") is not wanted:
            yield f"{name}() without {key}={wanted}"
    for key, wanted in ONLY.items():
        if key in given and given[key] is not wanted:
            yield f"{name}() with {key} other than {wanted}"
