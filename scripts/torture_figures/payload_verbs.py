"""The words of every verb, for files that run code where they are opened carelessly."""

from pathlib import Path

from semcentres.cli import main
from torture_figures.fault_world import SMALL, pictures


def make_good(folder: Path) -> None:
    """Write images and a run, so that a verb comes as far as the payload beside them."""
    pictures(folder / "pictures")
    words = f"train {SMALL} force_temperature=true data.root={folder / 'pictures'}"
    if main([*words.split(), f"run_dir={folder / 'run'}"]):
        raise RuntimeError("the run beside the payloads was not made")


def verb_words(run: Path, good: Path) -> list[list[str]]:
    """Return the words of every verb, for a folder whose files are all payloads.

    Args:
        run: of payloads.
        good: as `make_good` writes it.
    """
    folder, bank = f"run_dir={run}", f"{run}/x.safetensors"
    train = [*SMALL.split(), f"data.root={good / 'pictures'}"]
    new = [*train, f"run_dir={run}/new"]
    own = [word for word in new if not word.startswith("encoder.")]
    return [
        ["evaluate", folder],
        ["evaluate", f"run_dir={good / 'run'}", f"bank={bank}"],
        ["robustness", folder],
        ["predict", folder, f"images={run}/x.png"],
        ["embed", folder, f"out={run}/out"],
        ["index", f"embeddings={run}/embeddings", f"out={run}/out"],
        ["retrieve", f"embeddings={run}/embeddings"],
        ["search", folder, "text=a"],
        ["search", f"run_dir={good / 'run'}", "class_name=cat", f"among={run / 'index'}"],
        ["export", folder, f"out={run}/out"],
        ["serve", f"model={run}", "port=0"],
        ["serve", f"model={good / 'run'}", f"index={run / 'index'}", "port=0"],
        ["centres", f"bank={bank}"],
        *(["centres", f"names_file={run}/x{suffix}"] for suffix in (".txt", ".csv", ".json")),
        *(
            ["centres", "names=[a]", "centres=word2vec", f"centres.builder.path={run}/x{suffix}"]
            for suffix in (".txt", ".bin", ".kv", ".model")
        ),
        *(
            ["centres", "names=[a]", "centres=from_file", f"centres.builder.path={run}/x{suffix}"]
            for suffix in (".npy", ".csv", ".parquet", ".safetensors")
        ),
        ["centres", "names=[a]", "centres=own_hierarchy", f"centres.builder.tree={run}/x.yaml"],
        [
            "centres",
            "names=[a]",
            "centres=prototypes",
            f"centres.builder.embeddings={run}/embeddings",
        ],
        ["data", "check", "data=manifest", f"data.root={run}/x.csv"],
        ["train", *SMALL.split(), f"data.root={run}/images", f"run_dir={run}/new"],
        ["train", *new, "centres=bank", f"centres.bank={bank}"],
        ["train", *new, f"start_from={run}"],
        *(
            ["train", *own, "encoder=torchvision", f"encoder.weights={run}/x{suffix}"]
            for suffix in (".pth", ".safetensors")
        ),
        [
            "compare",
            *train,
            "trainer.ema_decay=0.9,0.99",
            "centres=bank",
            f"centres.bank={bank}",
            f"out={run}/new",
        ],
        [
            "centres",
            "-m",
            "+hydra.callbacks.x._target_=os.mkdir",
            f"+hydra.callbacks.x.path={run}/it-ran",
        ],
    ]
