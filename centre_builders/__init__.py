"""Class names in, unit vectors out: fixed centres to train toward, from any builder.

    from centre_builders import Word2Vec, build_bank

    bank = build_bank(Word2Vec(), ["cat", "dog", "zebra"])
    bank.vectors                       # float32 [3 50], unit rows
    bank.geometry().safe_temperature   # of the soft-min over them
    bank.save("animals.safetensors")

It imports nothing of semcentres, and neither torch nor FAISS unless a builder's own library does.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Audit": "audit",
    "CentreBank": "bank",
    "ClassNames": "class_names",
    "read_class_names": "class_names",
    "check_class_names": "class_names",
    "add": "changes",
    "rename": "changes",
    "retire": "changes",
    "text_vector": "free_text",
    "build_bank": "building",
    "CentreBuilder": "protocol",
    "RawCentres": "protocol",
    "Geometry": "geometry",
    "InputError": "errors",
    "FromFile": "from_file",
    "Hierarchy": "hierarchy",
    "Mix": "mix",
    "OneHot": "one_hot",
    "Prototypes": "prototypes",
    "RandomOrthogonal": "random_orthogonal",
    "SemanticSeparated": "semantic_separated",
    "Sentence": "sentence",
    "Separated": "separated",
    "Simplex": "simplex",
    "Word2Vec": "word2vec",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import what is asked for when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
