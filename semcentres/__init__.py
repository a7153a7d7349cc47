"""Image encoders trained toward fixed centres made from class names.

The verbs of the command in Python, with the same words:

    import semcentres
    run, results = semcentres.train("centres=word2vec", "data=fashion_mnist")
    model = semcentres.load(run.path)
    model.predict(images)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from semcentres.model import Model


def load(run_dir: "str | Path") -> "Model":
    """Return the model that a run folder holds."""
    from semcentres.model import Model

    return Model.load(run_dir)


def _verb(name: str, words: tuple[str, ...]) -> Any:  # noqa: ANN401
    from semcentres import verbs
    from semcentres.compose import compose_settings

    return getattr(verbs, name)(compose_settings(name, words))


def centres(*words: str) -> Any:  # noqa: ANN401
    """Build centres from class names: `semcentres centres` in Python; returns the bank."""
    return _verb("centres", words)


def train(*words: str) -> Any:  # noqa: ANN401
    """Train and evaluate: `semcentres train` in Python; returns run folder and results."""
    return _verb("train", words)


def compare(*words: str) -> Any:  # noqa: ANN401
    """Train several choices and put them side by side: `semcentres compare`."""
    from semcentres.compare import compare

    return compare(words)


def evaluate(*words: str) -> Any:  # noqa: ANN401
    """Evaluate a trained run: `semcentres evaluate`; returns run folder and results."""
    return _verb("evaluate", words)


def serve(*words: str) -> None:
    """Serve a model's web page until a signal arrives: `semcentres serve`."""
    _verb("serve", words)


def embed(*words: str) -> Any:  # noqa: ANN401
    """Write a split's embeddings: `semcentres embed`; returns the folder written."""
    return _verb("embed", words)
