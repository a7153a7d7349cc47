"""The verb `index`: embeddings to a collection that can be searched."""

from dataclasses import dataclass
from pathlib import Path

from centre_builders.embedded import open_parts
from centre_builders.errors import UsageError
from centre_builders.items import write_items
from semcentres.approximate import build_over, check_wanted
from semcentres.collection import ITEMS, mapped_shards
from semcentres.indexes import AnyIndex
from semcentres.on_disk import save_on_disk
from semcentres.settings import IndexConfig


@dataclass(frozen=True, eq=False)
class Indexed:
    """What the verb has done.

    Attributes:
        folder: of the collection.
        index: that it holds.
        model: fingerprint of the model that embedded.
    """

    folder: Path
    index: AnyIndex
    model: str


def index(config: IndexConfig) -> Indexed:
    """Build an index over embeddings and write it, with which image each row is.

    Raises:
        UsageError: `out` holds something else than an index.
        InputError: the embeddings are missing or damaged, or an argument is out of range.
    """
    kind, out = check_wanted(config.kind, config.recall), Path(config.out)
    if config.on_disk and kind not in ("auto", "ivf"):
        raise UsageError(f"on_disk=true is for kind=ivf, got kind={kind}")
    if out.exists() and not (out / ITEMS).is_file() and (out.is_file() or any(out.iterdir())):
        raise UsageError(f"{out} holds something else than an index; name a new folder")
    parts = open_parts(config.embeddings)
    rows = mapped_shards(parts)

    def items(folder: Path) -> None:
        write_items(folder / ITEMS, map(parts.items, range(len(parts.sizes))))

    built: AnyIndex
    if config.on_disk:
        built = save_on_disk(out, rows, parts.about, items, recall=config.recall)
    else:
        built = build_over(rows, kind=kind, recall=config.recall)
        built.save(out, parts.about, items)
    return Indexed(out, built, str(parts.about["model"]))
