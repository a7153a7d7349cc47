"""The verb `embed`: any number of images to parts of embeddings, of which none is done twice."""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from centre_builders.artefact import sweep
from centre_builders.embedded import complete, read_about, read_done, write_part
from centre_builders.errors import CorruptArtefact, InputError, UsageError
from semcentres.compose import load_config
from semcentres.data.listing import list_images
from semcentres.data.split_file import check_unchanged
from semcentres.engines import check_engine, each_part
from semcentres.hardware import own_device
from semcentres.model import Model
from semcentres.progress import counting
from semcentres.recipe import make_source, make_split, select
from semcentres.settings import EmbedConfig
from semcentres.unembedded import Files, Images, Pixels
from semcentres.watchdog import Watchdog

log = logging.getLogger(__name__)

# What the processes of torchrun say to each other.
BEGIN, WRITTEN, COMPLETE = "begin", "written", "complete"


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
class Job:
    """Images to embed, and where to; every process that does parts of it makes its own.

    Args:
        images: to embed.
        model: to embed by.
        folder: to write to; it may hold parts of the same model.
        about: of the whole, for its readers.
        part_rows: images of a part; memory grows with it, not with the number of images.
    """

    images: Images
    model: Model
    folder: Path
    about: Mapping[str, Any]
    part_rows: int

    @classmethod
    def of(cls, config: EmbedConfig) -> "Job":
        """Return what a configuration asks for.

        Raises:
            UsageError: no folder is named for the embeddings of files, or a part has no row.
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
        return cls(images, model, folder, about, config.part_rows)

    @property
    def num_parts(self) -> int:
        """The number of parts."""
        return -(-len(self.images) // self.part_rows)

    def rows(self, number: int) -> slice:
        """Return which images a part has."""
        start = number * self.part_rows
        return slice(start, start + self.num_images(number))

    def num_images(self, number: int) -> int:
        """Return how many images a part has."""
        return min(self.part_rows, len(self.images) - number * self.part_rows)

    def identity(self) -> str:
        """Return what is the same for all who do parts of the same job."""
        return f"model {self.model.fingerprint[:12]}, images {self.images.identity()[:12]}"

    def do(self, number: int) -> None:
        """Write a part, unless it is there."""
        part = self.rows(number)
        mark = self.images.mark(part)
        if _is_there(self.folder, number, mark):
            return
        # Here, as what starts Ray's actors does no part itself.
        made = self.images.embedded(part, self.model.to(own_device()))
        done = {"rows": len(made.items), "mark": mark, "faults": made.faults}
        done["model"] = self.model.fingerprint
        write_part(self.folder, number, made.vectors, made.items, done)


def embed(config: EmbedConfig) -> Written:
    """Embed files or a split of the run's data; what is finished is verified and not done again.

    Under torchrun every process does its share of the parts, and the first says when all are there.

    Raises:
        UsageError: as `Job.of`, or the engine does not fit how the processes were started.
        InputError: no image can be read, or another model has embedded into the folder.
        RankLost: another process of torchrun is the cause that this one cannot go on.
    """
    check_engine(config.engine)
    others = Watchdog()
    with others.watching():
        job = Job.of(config)
        if others.ranks.first:
            job.folder.mkdir(parents=True, exist_ok=True)
            # Only here, before any other process writes: it may be one of another machine.
            sweep(job.folder)
            _refuse_other_model(job.folder, job.model.fingerprint)
            others.say(BEGIN, job.identity())
        else:
            _check_same(others.wait_for_first(BEGIN), job.identity())
        start = _Start(os.getcwd(), config, job.identity())
        own = range(others.ranks.rank, job.num_parts, others.ranks.count)
        # A part may take long, a batch of it does not.
        job.model.encoder.register_forward_hook(lambda *_: others.advance())
        others.advance()
        with counting(sum(map(job.num_images, own)), "images embedded") as count:
            for number in each_part(config.engine, own, job.do, start):
                for fault in read_about(job.folder, number)["faults"]:
                    log.warning("%s", fault)
                count(job.num_images(number))
                others.advance()
        others.meet(WRITTEN)
        return _finish(job, others)


def _finish(job: Job, others: Watchdog) -> Written:
    """Say that all parts are there, if this is the first process, or wait until it has."""
    parts = [read_about(job.folder, number) for number in range(job.num_parts)]
    bad = [fault for part in parts for fault in part["faults"]]
    if len(bad) == len(job.images):
        raise InputError(f"none of {len(bad)} images can be read; the first one: {bad[0]}")
    if others.ranks.first:
        complete(job.folder, job.about, job.num_parts)
        others.say(COMPLETE, "")
    else:
        others.wait_for_first(COMPLETE)
    return Written(job.folder, sum(int(part["rows"]) for part in parts), bad)


@dataclass(frozen=True)
class _Start:
    """Makes the job anew in a process of its own, of the same folder, and returns its `do`."""

    folder: str
    config: EmbedConfig
    identity: str

    def __call__(self) -> Callable[[int], None]:
        os.chdir(self.folder)
        job = Job.of(self.config)
        _check_same(self.identity, job.identity())
        return job.do


def _check_same(wanted: str, found: str) -> None:
    if found != wanted:
        raise InputError(
            f"a process sees {found}, the first one {wanted}; all machines must see the same files"
            " under the same paths"
        )


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


def _is_there(folder: Path, number: int, mark: str) -> bool:
    """Return whether a part is there, whole, and of the same images."""
    try:
        done = read_done(folder, number)
    except CorruptArtefact as error:
        log.warning("%s; it is embedded again", error)
        return False
    return done is not None and done.get("mark") == mark
