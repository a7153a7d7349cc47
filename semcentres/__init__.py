"""Image encoders trained toward fixed centres made from class names.

The verbs of the command in Python, with the same words:

    import semcentres
    run, results = semcentres.train("centres=word2vec", "data=fashion_mnist")
    model = semcentres.load(run.path)
    model.predict(["a.jpg", "b.jpg"]).names
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from semcentres.data.source import Source
    from semcentres.model import Model


def load(run_dir: "str | Path") -> "Model":
    """Return the model that a run folder or a bundle holds, or `org/name` on the hub."""
    from semcentres.model import Model

    return Model.load(run_dir)


def push_to_hub(folder: "str | Path", repository: str, *, private: bool = True) -> str:
    """Upload a bundle of `export("format=safetensors")`; returns its address on the hub."""
    from semcentres.hub import push_to_hub

    return push_to_hub(folder, repository, private=private)


def _verb(name: str, words: tuple[str, ...], **more: Any) -> Any:  # noqa: ANN401
    from semcentres import verbs
    from semcentres.compose import compose_settings

    return getattr(verbs, name)(compose_settings(name, words), **more)


def centres(*words: str) -> Any:  # noqa: ANN401
    """Build centres from class names: `semcentres centres` in Python; returns the bank."""
    return _verb("centres", words)


def train(*words: str, source: "Source | None" = None) -> Any:  # noqa: ANN401
    """Train and evaluate: `semcentres train` in Python; returns run folder and results.

    `source` are images made in Python, by `semcentres.data.dataset.from_dataset`.
    """
    return _verb("train", words, source=source)


def compare(*words: str) -> Any:  # noqa: ANN401
    """Train several choices and put them side by side: `semcentres compare`."""
    from semcentres.comparing import compare

    return compare(words)


def evaluate(*words: str, source: "Source | None" = None) -> Any:  # noqa: ANN401
    """Evaluate a trained run: `semcentres evaluate`; returns run folder and results."""
    return _verb("evaluate", words, source=source)


def predict(*words: str) -> Any:  # noqa: ANN401
    """Classify images of files or of a split: `semcentres predict`; returns rows and faults."""
    return _verb("predict", words)


def serve(*words: str) -> None:
    """Serve a model's web page until a signal arrives: `semcentres serve`."""
    _verb("serve", words)


def embed(*words: str) -> Any:  # noqa: ANN401
    """Write embeddings of files or of a split: `semcentres embed`; returns folder and faults."""
    return _verb("embed", words)


def search(*words: str) -> Any:  # noqa: ANN401
    """Find the images nearest to a text, a class or an image: `semcentres search`."""
    return _verb("search", words)


def export(*words: str) -> Any:  # noqa: ANN401
    """Write a run's model for others: `semcentres export`; returns the bundle."""
    return _verb("export", words)
