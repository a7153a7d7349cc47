"""The verb `embed`: any number of images to parts of embeddings, of which none is done twice.

Dimensions: n images of a part, D embedding width.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from centre_builders.artefact import sweep
from centre_builders.embedded import complete, make_items, read_done, write_part
from centre_builders.errors import CorruptArtefact, InputError, UsageError
from semcentres.compose import load_config
from semcentres.data.listing import list_images
from semcentres.data.readable import read_images
from semcentres.data.source import ImageSet
from semcentres.data.split_file import check_unchanged
from semcentres.model import Model
from semcentres.progress import counting
from semcentres.queries import image_shape
from semcentres.recipe import make_source, make_split, select
from semcentres.settings import EmbedConfig

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

BATCH = 256  # files in memory at a time, and as many being decoded


@dataclass(frozen=True)
class Written:
    """What the verb has done.

    Attributes:
        folder: of the embeddings.
        num_images: that are embedded.
        bad: one line for each file that could not be read.
    """

    folder: Path
    num_images: int
    bad: list[str]


@dataclass(frozen=True, eq=False)
class Part:
    """What becomes of some images: unit rows, which image each is, and the files left out."""

    vectors: Float32[np.ndarray, "n D"]
    items: "pa.Table"
    faults: list[str]


@runtime_checkable
class Images(Protocol):
    """Images to embed, of which a part is in memory at a time."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def mark(self, part: slice) -> str:
        """Return what changes when the images of a part do."""
        ...

    def embedded(self, part: slice, model: Model) -> Part:
        """Return the part under a model."""
        ...


def embed(config: EmbedConfig) -> Written:
    """Embed files or a split of the run's data; what is finished is verified and not done again.

    Raises:
        UsageError: no folder is named for the embeddings of files, or a part has no row.
        InputError: no image can be read, or another model has embedded into the folder.
    """
    if config.part_rows < 1:
        raise UsageError(f"part_rows must be at least 1, got {config.part_rows}")
    model = Model.load(config.run_dir)
    about = {"model": model.fingerprint}
    images: Images
    if config.images is None:
        trained = load_config(Path(config.run_dir) / "config.yaml")
        source = check_unchanged(Path(config.run_dir), make_source(trained.data))
        chosen, rows = select(source, make_split(trained, source), config.split)
        known = [None if row < 0 else source.class_names[row] for row in chosen.labels.tolist()]
        about |= {"data": source.fingerprint, "split": config.split}
        images = Pixels(chosen, rows.numpy(), known, source.fingerprint)
    else:
        if config.out is None:
            raise UsageError("images=... needs out=FOLDER to write the embeddings to")
        listed = list_images(config.images, model.bank.names)
        # Absolute: what is made of them is opened from other folders too.
        paths = [path.absolute() for path, _ in listed]
        images = Files(paths, [label for _, label in listed], model.about)
    folder = Path(config.out or Path(config.run_dir) / "embeddings" / config.split)
    return write_parts(images, folder, model, about, config.part_rows)


def write_parts(
    images: Images, folder: Path, model: Model, about: Mapping[str, Any], part_rows: int
) -> Written:
    """Write all parts that are not there yet.

    Args:
        images: to embed.
        folder: to write to; it may hold parts of the same model.
        model: to embed by.
        about: of the whole, for its readers.
        part_rows: images of a part, from 1; memory grows with it, not with the number of images.

    Raises:
        InputError: no image can be read, or another model has embedded into the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    _refuse_other_model(folder, model.fingerprint)
    starts, bad = range(0, len(images), part_rows), []
    with counting(len(images), "images embedded") as count:
        for number, start in enumerate(starts):
            part = slice(start, min(start + part_rows, len(images)))
            mark = images.mark(part)
            done = _finished(folder, number, mark)
            if done is None:
                made = images.embedded(part, model)
                done = {"rows": len(made.items), "mark": mark, "faults": made.faults}
                done["model"] = model.fingerprint
                write_part(folder, number, made.vectors, made.items, done)
            for fault in done["faults"]:
                log.warning("%s", fault)
            bad += done["faults"]
            count(part.stop - part.start)
    if len(bad) == len(images):
        raise InputError(f"none of {len(images)} images can be read; the first one: {bad[0]}")
    return Written(folder, complete(folder, about, len(starts)), bad)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images of a data set, in memory.

    Args:
        images: to embed.
        ids: rows of the data set.
        labels: names of their classes.
        data: fingerprint of the data set.
    """

    images: ImageSet
    ids: np.ndarray
    labels: Sequence[str | None]
    data: str

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.images)

    def mark(self, part: slice) -> str:
        """Return a hash of the data set, of the rows and of where the files are."""
        told = self.data + "".join(self.images.paths[part])
        return sha256(told.encode() + self.ids[part].tobytes()).hexdigest()

    def embedded(self, part: slice, model: Model) -> Part:
        """Return the part under a model."""
        ids, labels = self.ids[part], self.labels[part]
        paths: Sequence[str | None] = self.images.paths[part] or [None] * len(ids)
        items = make_items(ids, paths, labels)
        return Part(model.embed(self.images.images[part]), items, [])


@dataclass(frozen=True, eq=False)
class Files:
    """Image files.

    Args:
        paths: of the files.
        labels: names of their classes.
        about: the model's; `size` and `channels` of its images.
    """

    paths: Sequence[Path]
    labels: Sequence[str | None]
    about: Mapping[str, Any]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.paths)

    def mark(self, part: slice) -> str:
        """Return a hash of paths, labels, sizes and times, and of what the model makes of them."""
        digest = sha256(json.dumps(image_shape(self.about)).encode())
        for path, label in zip(self.paths[part], self.labels[part], strict=True):
            at = path.stat() if path.exists() else None
            known = at and (at.st_size, at.st_mtime_ns)
            digest.update(repr((str(path), label, known)).encode())
        return digest.hexdigest()

    def embedded(self, part: slice, model: Model) -> Part:
        """Return the part under a model, without the files that cannot be read."""
        wanted = self.paths[part]
        vectors, ids, faults = [np.empty((0, model.bank.dimension), np.float32)], [], []
        place = 0
        for good, images, bad in read_images(wanted, batch=BATCH, **image_shape(self.about)):
            vectors += [model.embed(images)] if good else []
            for path in good:
                # Those that were read come in the order of the list, in which a path may be twice.
                place = wanted.index(path, place) + 1
                ids.append(part.start + place - 1)
            faults += bad
        paths, labels = [str(self.paths[i]) for i in ids], [self.labels[i] for i in ids]
        items = make_items(np.array(ids, np.int64), paths, labels)
        return Part(np.concatenate(vectors), items, faults)


def _refuse_other_model(folder: Path, fingerprint: str) -> None:
    for done in sorted(folder.glob("part-*.done")):
        try:
            found = str(json.loads(done.read_text())["about"]["model"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # Damaged: it is made anew.
        if found != fingerprint:
            raise InputError(
                f"{folder} holds embeddings by model {found[:12]}, this model is"
                f" {fingerprint[:12]}; set another out, or remove the folder"
            )


def _finished(folder: Path, number: int, mark: str) -> dict[str, Any] | None:
    """Return what a part was made of, None where it is not there, damaged, or of other images."""
    try:
        done = read_done(folder, number)
    except CorruptArtefact as error:
        log.warning("%s; it is embedded again", error)
        return None
    return done if done is not None and done.get("mark") == mark else None
