"""The verb `search`: text, a class or an image, to the nearest images of a collection."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from centre_builders.artefact import write_file
from centre_builders.errors import UsageError
from semcentres.collection import Collection
from semcentres.index import nearest_centres
from semcentres.indexes import describe_index
from semcentres.model import Model
from semcentres.rows import to_csv
from semcentres.settings import SearchConfig

SUFFIXES = (".json", ".csv")

Row = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What the verb has found.

    Attributes:
        query: as it was given.
        rows: rank, id, path, label, cosine and nearest class of each image, best first.
        num_images: that were searched.
        index: how, as of `describe_index`.
        files: that were written.
    """

    query: str
    rows: list[Row]
    num_images: int
    index: dict[str, Any]
    files: list[str]


def search(config: SearchConfig) -> Found:
    """Search a collection, and write what was found if asked to.

    Raises:
        UsageError: not just one query is given, or `out` is of an unknown kind.
        InputError: the query cannot be placed, or another model has embedded the images.
    """
    if config.out is not None and not config.out.endswith(SUFFIXES):
        raise UsageError(f"out={config.out} must end in {' or '.join(SUFFIXES)}")
    if config.report is not None and not config.report.endswith(".png"):
        raise UsageError(f"report={config.report} must end in .png")
    given = {k: v for k in ("text", "class_name", "image") if (v := getattr(config, k)) is not None}
    if len(given) != 1:
        raise UsageError(
            f"search needs one of text, class_name and image, got {', '.join(given) or 'none'}"
        )
    (asked,) = given.values()
    model = Model.load(config.run_dir)
    if config.class_name is not None:
        model.bank.rows_of([config.class_name])
    among = model.collection if config.among is None else Collection.load(config.among)
    hits = model.search(asked if config.image is None else Path(asked), config.k, among)
    near = nearest_centres(among.index.rows(hits.rows[0]), model.bank.vectors).ids[:, 0]
    rows = [
        {
            "rank": place + 1,
            "id": int(id_),
            "path": None if (path := among.path(int(row))) is None else str(path),
            "label": among.label(int(row)),
            "cosine": round(float(cosine), 6),
            "nearest_class": model.bank.names[centre],
        }
        for place, (row, id_, cosine, centre) in enumerate(
            zip(hits.rows[0], hits.ids[0], hits.cosines[0], near, strict=True)
        )
    ]
    if config.out is not None:
        as_json = config.out.endswith(".json")
        text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n" if as_json else to_csv(rows)
        write_file(config.out, text.encode())
    if config.report is not None:
        _draw(config, str(asked), among, hits.rows[0].tolist(), rows)
    files = [file for file in (config.out, config.report) if file is not None]
    return Found(str(asked), rows, len(among), describe_index(among.index), files)


def _draw(
    config: SearchConfig, asked: str, among: Collection, found: Sequence[int], rows: list[Row]
) -> None:
    # Imported here: matplotlib would delay every search.
    from semcentres.data.stored import decode
    from semcentres.evaluation.figures_hits import draw_hits
    from semcentres.pictures import SIDE, pictures

    picture = pictures(among, Path(config.run_dir))
    query: Tensor | None = None if config.image is None else decode(Path(asked), SIDE)
    draw_hits(
        [picture(row).numpy() for row in found],
        [(row["nearest_class"], row["label"], row["cosine"]) for row in rows],
        Path(str(config.report)),
        title=asked if query is None else Path(asked).name,
        query=None if query is None else query.numpy(),
    )
