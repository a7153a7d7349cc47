"""What a person sees of a verb's result: tables on standard output."""

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from centre_builders.audit import Audit
from centre_builders.bank import CentreBank
from centre_builders.errors import InputError
from semcentres import show_audit, show_check, show_predictions, show_robustness
from semcentres.card import MEASURES
from semcentres.check import DataCheck
from semcentres.comparison import Comparison
from semcentres.finding import Found
from semcentres.indexes import describe_index, tell_index
from semcentres.indexing import Indexed
from semcentres.sharding import Written

if TYPE_CHECKING:
    from semcentres.predicting import Predicted

WIDE = 200  # columns where nobody's terminal folds them
VERSIONS = (
    "semcentres", "torch", "torchvision", "lightning-fabric", "sentence-transformers", "gensim",
)  # fmt: skip


def centres(found: CentreBank | Audit) -> None:
    """Print what a bank looks like, or what an audit found.

    Raises:
        InputError: it is not safe to train on the audited names; so the exit code says it too.
    """
    if isinstance(found, CentreBank):
        _bank(found)
        return
    show_audit.show(found)
    if not found.safe:
        raise InputError("not safe to train: see the faults above")


def _bank(bank: CentreBank) -> None:
    geometry = bank.geometry()
    console = Console()
    console.print(
        f"{len(bank.names)} centres in {bank.dimension} dimensions"
        f" by {bank.provenance['builder']['_target_']}, fingerprint {bank.fingerprint[:12]}"
    )
    table = Table("mean cosine", "max cosine", "safe temperature")
    numbers = (geometry.mean_cosine, geometry.max_cosine, geometry.safe_temperature)
    table.add_row(*(f"{number:.3f}" for number in numbers))
    console.print(table)
    pairs = Table("nearest pairs", "", "cosine")
    for first, second, cosine in geometry.nearest_pairs:
        pairs.add_row(show_audit.literal(first), show_audit.literal(second), f"{cosine:.3f}")
    console.print(pairs)
    if geometry.sampled:
        console.print("max cosine and nearest pairs are from a sample of the centres")


def train(outcome: tuple[Any, Mapping[str, Any]]) -> None:
    """Print a run's results and where its files are."""
    run, results = outcome
    console = Console()
    table = Table(title=results_title(results))
    table.add_column("measure")
    table.add_column("value", justify="right")
    for key, label in MEASURES.items():
        if key in results:
            table.add_row(label, f"{results[key]:.4f}")
    console.print(table)
    console.print(f"results   {run.path / 'metrics.json'}", soft_wrap=True)
    console.print(f"pictures  {run.report}", soft_wrap=True)


evaluate = train
robustness = show_robustness.show


def check(found: DataCheck) -> None:
    """Print what was found of a data set.

    Raises:
        InputError: there is something to mend first; so the exit code says it too.
    """
    show_check.show(found)
    if found.problems:
        raise InputError(f"not fit to train on: {'; '.join(found.problems)}")


def compare(found: Comparison) -> None:
    """Print a comparison, mean and standard deviation over the seeds."""
    wide = 20 * (len(found.axes) + len(found.columns))  # where nobody's terminal folds it
    console = Console(width=None if sys.stdout.isatty() else wide)
    table = Table(title=f"{len(found.rows[0].runs)} seeds")
    for axis in found.axes:
        table.add_column(axis, no_wrap=True)
    for heading in found.columns.values():
        table.add_column(heading, justify="right")
    for row in found.rows:
        table.add_row(*row.words.values(), *found.cells(row))
    console.print(table)
    console.print(f"tables    {found.folder / 'comparison.md'}, .json", soft_wrap=True)
    for picture in sorted(found.folder.glob("*.png")):
        console.print(f"picture   {picture}", soft_wrap=True)


def predict(found: "Predicted") -> None:
    """Print predictions, unless they were written.

    Raises:
        InputError: a file could not be read; so the exit code says it too.
    """
    if found.out is None:
        show_predictions.show(found)
    elif found.file is not None:
        sys.stdout.write(f"{found.file}\n")
    if found.bad:
        num = len(found.bad) + len(found.rows)
        raise InputError(f"{len(found.bad)} of {num} images cannot be read, named above")


def embed(written: Written) -> None:
    """Print where the embeddings are.

    Raises:
        InputError: a file could not be read; so the exit code says it too.
    """
    sys.stdout.write(f"{written.folder}\n")
    if written.bad:
        num = len(written.bad) + written.num_images
        raise InputError(f"{len(written.bad)} of {num} images cannot be read, named above")


def index(made: Indexed) -> None:
    """Print what an index holds and how exact it is."""
    console = Console()
    facts = describe_index(made.index)
    table = Table("images", "dimensions", "kind", f"recall@{facts['k'] or 'k'}", "model")
    recall = f"{facts['recall']:.3f}" if facts["k"] else "1 (exact)"
    size, width = f"{len(made.index):,}", str(made.index.dimension)
    table.add_row(size, width, facts["kind"], recall, made.model[:12])
    console.print(table)
    console.print(f"index     {made.folder}", soft_wrap=True)


def retrieve(results: dict[str, Any]) -> None:
    """Print the metrics, in percent."""
    names = [name for name, value in results.items() if isinstance(value, float)]
    table = Table("images", *(name.replace("_", " ") for name in names))
    table.add_row(f"{results['num_images']:,}", *(f"{100 * results[name]:.1f}" for name in names))
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def search(found: Found) -> None:
    """Print what was found, best first."""
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    among = f": {len(found.rows)} of {found.num_images:,} images ({tell_index(found.index)})"
    table = Table(title=show_audit.literal(found.query).append(among))
    for heading in ("", "id", "image", "class", "nearest class"):
        table.add_column(heading, overflow="fold")
    table.add_column("cosine", justify="right")
    for row in found.rows:
        texts = (show_audit.literal(row[key] or "") for key in ("path", "label", "nearest_class"))
        table.add_row(str(row["rank"]), str(row["id"]), *texts, f"{row['cosine']:.4f}")
    console.print(table)
    for file in found.files:
        console.print(f"written   {file}", soft_wrap=True)


def export(bundle: Any) -> None:  # noqa: ANN401
    """Print how exact a bundle is and where it is."""
    checked = bundle.about["verification"]
    title = f"{bundle.about['file']} against the run on {checked['images']} test images"
    table = Table("output", "largest difference", title=title)
    for output, apart in checked["max_difference"].items():
        table.add_row(output, f"{apart:.1e}")
    console = Console()
    console.print(table)
    console.print(f"tolerance {checked['tolerance']:.0e}")
    console.print(f"{checked['other_nearest_class']} images have another nearest class")
    console.print(f"bundle    {bundle.folder}", soft_wrap=True)
    if bundle.address:
        console.print(f"pushed    {bundle.address}", soft_wrap=True)


def serve(_: None) -> None:
    """Print nothing: the server has ended."""


def results_title(results: Mapping[str, Any]) -> str:
    """Return what was measured on what."""
    return f"{results['num_images']:,} {results['split']} images of {results['data']}"


def doctor() -> None:
    """Print versions, devices and paths, in about ten lines."""
    import torch

    from semcentres.compose import config_folder
    from semcentres.hardware import has_bf16

    bf16 = "yes" if has_bf16("auto") else "no"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines = {
        "python": f"{platform.python_version()} on {platform.platform()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in VERSIONS),
        "faiss": _faiss(),
        "cpu": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
        "gpu": ", ".join(gpus) or "none",
        "bf16": f"native: {bf16} (trainer.precision=auto takes it where it is native)",
        "configuration": str(config_folder()),
        "run folders": str(Path("runs").resolve()),
    }
    for name, text in lines.items():
        sys.stdout.write(f"{name:<14}{text}\n")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _faiss() -> str:
    from semcentres.index import describe

    return describe()
