"""Mistakes that people make at the command line, and what the one line about each must hold.

A row is the command's words, the exit code, what names the culprit, and what says the remedy. `{t}`
is the folder that `fault_world.prepare` makes, `{new}` one that is not there; a | parts words that
hold spaces.
"""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from torture_figures.fault_world import SMALL

TRAIN = f"train {SMALL} data.root={{t}}/pictures run_dir={{new}}"
CHECK = "data check centres=one_hot data.source.size=8"
LIST = "data check centres=one_hot data=manifest data.source.size=8"
ONE_HOT, WORDS = "centres centres=one_hot", "centres centres=word2vec"
CHANGE = "centres bank={t}/animals.safetensors out={t}/x.safetensors"
VECTORS = "centres centres=from_file names=[cat,dog] centres.builder.names_path={t}/pair.txt"
TABLE = "centres centres=from_file names=[cat,dog] centres.builder.path={t}/"
SEARCH = "search run_dir={t}/run"


@dataclass(frozen=True)
class Fault:
    """A mistake, and what its one line must hold."""

    words: str
    code: int
    culprit: str
    remedy: str

    def arguments(self, folder: Path) -> list[str]:
        """Return the words, with the places filled in."""
        plain, *spaced = self.words.split("|")
        # A run folder of its own each, since what fails late leaves its settings there.
        new = str(folder / f"new-{crc32(self.words.encode())}")
        filled = [word.replace("{new}", new) for word in (*plain.split(), *spaced)]
        return [word.replace("{t}", str(folder)) for word in filled]


NAMES = [
    (f"{ONE_HOT} names=[true,cat]", 3, "class 0 is True", "quote it"),
    (f"{ONE_HOT} names=[cat,null]", 3, "class 1 is None", "quote it"),
    (f"{ONE_HOT} names=[1e3,cat]", 3, "class 0 is 1000.0", "quote it"),
    (f"{ONE_HOT} names=[cat,nan]", 3, "class 1 is nan", "quote it"),
    (f"{ONE_HOT} names=[7,cat]", 3, "class 0 is 7", "quote it"),
    (f"{ONE_HOT} names=cat", 2, "names=cat", "names=[cat]"),
    (f"{ONE_HOT} names=[]", 3, "names", "give at least one"),
    (f"{ONE_HOT} names=[cat", 2, "names=[cat", "bracket"),
    (f"{ONE_HOT} names=[Cat,cat]", 3, "'Cat'", "remove one"),
    (f"{ONE_HOT}|names=[sea_lion,sea lion]", 3, "'sea_lion'", "remove one"),
    (f"{ONE_HOT} names=['caf\u00e9','cafe\u0301']", 3, "'caf\u00e9'", "remove one"),
    (f"{ONE_HOT}|names=['',cat]", 3, "class 0", "give it one"),
    (f"{ONE_HOT} names_file={{t}}/turned.txt", 3, "U+202E", "remove it"),
    (f"{ONE_HOT} names_file={{t}}/zero_width.txt", 3, "U+200B", "remove it"),
    (f"{ONE_HOT} names_file={{t}}/gone.txt", 3, "gone.txt", "name a file"),
    (f"{ONE_HOT} names_file={{t}}/empty.txt", 3, "empty.txt", "give at least one"),
    (f"{ONE_HOT} names_file={{t}}/latin.txt", 3, "latin.txt:1", "UTF-8"),
    (f"{ONE_HOT} names_file={{t}}/twice.txt", 3, "twice.txt:3", "rename or remove"),
    (f"{ONE_HOT} names_file={{t}}/folded.txt", 3, "folded.txt:2", "rename or remove"),
    (f"{ONE_HOT} names_file={{t}}/tab.txt", 3, "tab.txt:2", "give it one"),
    (f"{ONE_HOT} names_file={{t}}/header.csv", 3, "header.csv:1", "write 'name"),
    (f"{ONE_HOT} names_file={{t}}/fields.csv", 3, "fields.csv:2", "quotes"),
    (f"{ONE_HOT} names_file={{t}}/broken.json", 3, "broken.json:1", "mend it"),
    (f"{ONE_HOT} names_file={{t}}/number.json", 3, "number.json", "write a list"),
    (f"{ONE_HOT} names_file={{t}}/typed.json", 3, "class 1 is boolean False", "quote it"),
    (f"{ONE_HOT} names_file={{t}}/keys.json", 3, "['label']", "write 'name'"),
    (f"{ONE_HOT} names_file={{t}}/names.yaml", 3, "names.yaml", ".json"),
    (f"{ONE_HOT} names_file={{t}}/none", 3, "none", "give at least one"),
    (f"{ONE_HOT} names_file=torchvision:Nothing", 3, "'Nothing'", "ResNet50_Weights"),
    (f"{ONE_HOT} names=[a,b] names_file={{t}}/pair.txt", 2, "names_file", "one of them"),
    (f"{WORDS} names=[cat,qzxqzx]", 3, "'qzxqzx'", "centres=sentence"),
    (f"{WORDS} names=[cat,zebbbra]", 3, "zebra", "centres=sentence"),
]
BANKS = [
    (f"{CHANGE} add=lion", 2, "add=lion", "add=[lion]"),
    (f"{CHANGE} retire=cat", 2, "retire=cat", "retire=[cat]"),
    (f"{CHANGE} add=[cat]", 3, "'cat'", "remove one"),
    (f"{CHANGE} add=[qzxqzx]", 3, "'qzxqzx'", "centres=sentence"),
    (f"{CHANGE} add=[7]", 3, "class 0 is 7", "quote it"),
    (f"{CHANGE} rename=[cat]", 2, "rename", "{name: text}"),
    (f"{CHANGE}|rename={{cta: lion}}", 3, "'cta'", "'cat'"),
    (f"{CHANGE}|rename={{cat: dog}}", 3, "'dog'", "remove one"),
    (f"{CHANGE} retire=[lion]", 3, "'lion'", "'cat'"),
    (f"{CHANGE} retire=[cat,dog]", 3, "retiring all", "keep one"),
    ("centres bank={t}/animals.safetensors add=[lion]", 2, "changed bank", "set out="),
    (f"{CHANGE} names=[a]", 2, "animals.safetensors", "leave out names"),
    (f"{CHANGE} audit=true", 2, "animals.safetensors", "leave out audit"),
    ("centres bank={t}/gone.safetensors", 3, "gone.safetensors", "semcentres centres"),
    ("centres bank={t}/flipped.safetensors", 3, "flipped.safetensors", "anew"),
    ("centres bank={t}/cut.safetensors", 3, "cut.safetensors", "anew"),
    ("centres bank={t}/notes.safetensors", 3, "notes.safetensors", "anew"),
    (f"{TRAIN} centres=bank", 2, "centres=bank", "centres.bank=FILE"),
    (f"{TRAIN} centres=bank centres.bank={{t}}/ten.safetensors", 3, "'cat'", "build a bank"),
    ("evaluate run_dir={t}/run bank={t}/ten.safetensors", 3, "has 10", "centres.dimension=64"),
    (f"{VECTORS} centres.builder.path={{t}}/gone.npy", 3, "gone.npy", "centres.builder.path"),
    (f"{VECTORS} centres.builder.path={{t}}/three.npy", 3, "three.npy", "names"),
    (f"{VECTORS} centres.builder.path={{t}}/zero.npy", 3, "'dog'", "mend"),
    (f"{VECTORS} centres.builder.path={{t}}/inf.npy", 3, "'dog'", "mend"),
    (f"{VECTORS} centres.builder.path={{t}}/same.npy", 3, "'dog'", "apart"),
    (f"{TABLE}nan.csv", 3, "'cat'", "mend"),
    (f"{TABLE}short.csv", 3, "short.csv", "mend"),
    (f"{TABLE}text.csv", 3, "text.csv", "mend"),
    (f"{WORDS} names=[cat,dog] centres.builder.path={{t}}/words.txt", 3, "words.txt:2", "mend"),
    ("centres centres=hierarchy names=[cat,dog] centres.builder.tree={t}/circle.csv", 3,
     "circle.csv", "circle"),
    ("centres centres=hierarchy names=[cat,dog] centres.builder.tree={t}/lacks.csv",
     3, "'dog'", "add"),
    ("centres centres=hierarchy names=[cat,dog] centres.builder.tree={t}/tree.txt", 3,
     "tree.txt", ".csv"),
    (f"{ONE_HOT} names=[a,b,c] centres.dimension=2", 2, "3", "centres.dimension"),
    (f"{ONE_HOT} names=[a,b] centres.dimension=0", 2, "0", "dimension"),
    (f"{ONE_HOT} names=[a,b] centres.dimension=wide", 2, "centres.dimension", "Integer"),
    (f"{WORDS}|names=[cat,feline,dog]|centres.descriptions={{feline: cat}}",
     3, "'feline'", "descri"),
    (f"{WORDS} names=[cat,dog] centres.descriptions=[cat]",
     2, "centres.descriptions", "{name: text}"),
    (f"{WORDS} names=[cat,dog] centres.whiten=-1", 3, "whiten=-1", "above 0"),
    (f"{WORDS} names=[cat,dog] centres.own_axis=2", 3, "own_axis=2", "try 0.5"),
    (f"{WORDS} names=[cat,dog] centres.remove_directions=-1",
     2, "remove_directions=-1", "at least 0"),
    (f"{ONE_HOT} names=[a,b] out={{t}}/pictures", 5, "pictures", "mend"),
    (f"{ONE_HOT} names=[a,b] out=/proc/none/x.safetensors", 5, "/proc/none", "mend"),
    (f"{ONE_HOT} names=[a,b] seed=-1", 2, "seed=-1", "from 0"),
    (f"{ONE_HOT} names=[a,b] seed=1.5", 2, "seed", "Integer"),
]  # fmt: skip
DATA = [
    (f"{CHECK} data.root={{t}}/gone", 3, "gone", "set data.root"),
    (f"{CHECK}", 3, "data=folder", "data.root=FOLDER"),
    (f"{CHECK} data.root={{t}}/none", 3, "none", "make one a class"),
    (f"{CHECK} data.root={{t}}/flat", 3, "flat", "make one a class"),
    (f"{CHECK} data.root={{t}}/empty_class", 3, "'zebra'", "needs 2"),
    (f"{CHECK} data.root={{t}}/one_image", 3, "'zebra'", "needs 2"),
    (f"{CHECK} data.root={{t}}/all_bad", 3, "12 of 12", "data.source.max_unreadable"),
    (f"{CHECK} data.root={{t}}/strange", 3, "zebra", "move it"),
    (f"{CHECK} data.root={{t}}/pictures data.source.size=0", 3, "size=0", "1 pixel at least"),
    (f"{CHECK} data.root={{t}}/pictures data.source.channels=2", 3, "channels=2", "1 or 3"),
    (f"{CHECK} data.root={{t}}/pictures data.source.test_share=1.0", 3, "test_share=1.0", "(0, 1)"),
    (f"{CHECK} data.root={{t}}/pictures data.source.max_unreadable=1.0",
     3, "max_unreadable=1.0", "[0, 1)"),
    (f"{CHECK} data.root={{t}}/pictures data.labels_per_class=9",
     3, "'cat'", "data.labels_per_class"),
    (f"{CHECK} data.root={{t}}/pictures data.labels_per_class=0",
     2, "labels_per_class=0", "at least 1"),
    (f"{CHECK} data.root={{t}}/pictures data.validation=99",
     3, "data.validation=99", "leaves none"),
    (f"{CHECK} data.root={{t}}/pictures objective.temperature=99.0",
     3, "temperature=99", "lower it"),
    (f"{LIST}", 3, "data=manifest", "data.root=FILE"),
    (f"{LIST} data.root={{t}}/gone/list.csv", 3, "list.csv", "mend"),
    (f"{LIST} data.root={{t}}/pair.txt", 3, "pair.txt", ".csv or .parquet"),
    (f"{LIST} data.root={{t}}/no_columns.csv", 3, "no_columns.csv", "no column path"),
    (f"{LIST} data.root={{t}}/no_path.csv", 3, "no_path.csv line 2", "remove the row"),
    (f"{LIST} data.root={{t}}/twice.csv", 3, "twice.csv line 3", "leave one of them out"),
    (f"{LIST} data.root={{t}}/bad_split.csv", 3, "'dev'", "train, validation, test"),
    (f"{LIST} data.root={{t}}/test_only.csv", 3, "'dog'", "add one"),
    (f"{LIST} data.root={{t}}/cells.csv", 3, "cells.csv line 2", "quote"),
    (f"{LIST} data.root={{t}}/half_split.csv", 3, "half_split.csv line 3", "set it"),
    (f"{LIST} data.root={{t}}/latin.csv", 3, "latin.csv", "mend"),
    (f"{LIST} data.root={{t}}/gone.csv", 3, "8 of 8", "data.source.max_unreadable"),
    (f"{LIST} data.root={{t}}/no.parquet", 3, "no.parquet", "write it again"),
]  # fmt: skip
TRAINING = [
    ("fit", 2, "'fit'", "train"),
    ("train trainer.step=3", 2, "trainer.step", "trainer.steps"),
    ("train trian.steps=3", 2, "trian.steps", "trainer.steps"),
    ("train trainer.steps", 2, "trainer.steps", "="),
    ("train centres=glove", 2, "centres=glove", "word2vec"),
    ("train data=mnist", 2, "data=mnist", "mnist_5k"),
    (f"{TRAIN} trainer.steps=many", 2, "trainer.steps", "Integer"),
    (f"{TRAIN} trainer.steps=0", 2, "trainer.steps=0", "at least 1"),
    (f"{TRAIN} trainer.labelled_batch=0", 2, "labelled_batch=0", "at least 1"),
    (
        f"{TRAIN} objective=paws trainer.labelled_batch=0 trainer.unlabelled_batch=4",
        2,
        "objective=paws",
        "trainer.labelled_batch",
    ),
    (f"{TRAIN} trainer.learning_rate=-1", 2, "learning_rate=-1", "from"),
    (f"{TRAIN} trainer.learning_rate=nan", 2, "learning_rate=nan", "from"),
    (f"{TRAIN} trainer.ema_decay=2", 2, "ema_decay=2", "from 0 to 1"),
    (f"{TRAIN} trainer.checkpoint_every=0", 2, "checkpoint_every=0", "at least 1"),
    (f"{TRAIN} trainer.device=tpu", 2, "trainer.device=tpu", "cpu"),
    (f"{TRAIN} trainer.precision=float8", 2, "trainer.precision=float8", "32-true"),
    (f"{TRAIN} trainer.learn=first", 2, "trainer.learn=first", "all, last"),
    (f"{TRAIN} objective.temperature=99.0", 3, "objective.temperature=99.0", "lower it"),
    (f"{TRAIN} objective.temperature=0.0", 2, "temperature", "positive"),
    (f"{TRAIN} encoder.width=0", 2, "encoder.width=0", "at least 1"),
    (f"{TRAIN} encoder._target_=os.system", 2, "os.system", "small_conv"),
    (f"{TRAIN} encoder._target_=semcentres.nothing", 2, "semcentres.nothing", "small_conv"),
    (f"{TRAIN} start_from={{t}}/none", 3, "none", "train"),
    (f"{TRAIN} start_from={{t}}/run encoder.width=8", 3, "another shape", "centres.dimension"),
    (f"{TRAIN} index=tree", 2, "tree", "flat"),
    (f"{TRAIN} index_recall=2", 2, "2", "at most 1"),
    (f"{TRAIN} split=dev", 2, "split=dev", "validation"),
    (f"train {SMALL} data.root={{t}}/pictures run_dir={{t}}/run", 2, "run", "restart=true"),
    (f"train {SMALL} data.root={{t}}/pictures run_dir={{t}}/pair.txt", 3, "pair.txt", "mend"),
]
USING = [
    ("evaluate", 2, "evaluate", "run_dir=..."),
    ("evaluate run_dir={t}/none", 3, "config.yaml", "train"),
    ("evaluate run_dir={t}/run num_views=0", 2, "num_views", "1"),
    ("train data=mnist_5k +views.another.crop=0.5", 2, "crop", "RandomView"),
    ("train data=mnist_5k +views.another=crop", 2, "crop", "RandomView"),
    ("train data=mnist_5k experiment=nope", 2, "nope", "fashion_100"),
    ("train data=mnist_5k trainer.steps=abc", 2, "trainer.steps=abc", "2000"),
    ("predict run_dir={t}/none", 3, "none", "train"),
    ("predict run_dir={t}/run images={t}/gone", 3, "gone", "neither a file nor a folder"),
    ("predict run_dir={t}/run images={t}/folder", 3, "folder", "they end in"),
    ("predict run_dir={t}/run images={t}/notes.png", 3, "notes.png", "mend or remove"),
    ("predict run_dir={t}/run out={t}/found.txt", 2, "found.txt", ".csv or .jsonl"),
    ("predict run_dir={t}/run num_views=0", 2, "0", "1"),
    ("predict run_dir={t}/run num_views=2 average=mean", 2, "mean", "embedding"),
    ("embed run_dir={t}/run images={t}/pictures", 2, "images=", "out=FOLDER"),
    ("embed run_dir={t}/run part_rows=0", 2, "got 0", "at least 1"),
    ("embed run_dir={t}/run split=dev", 2, "split=dev", "validation"),
    ("index embeddings={t}/embeddings", 2, "index", "out=..."),
    ("index embeddings={t}/none out={t}/i", 3, "none", "semcentres embed"),
    ("index embeddings={t}/embeddings out={t}/i recall=0", 2, "got 0", "above 0"),
    ("index embeddings={t}/embeddings out={t}/i kind=tree", 2, "'tree'", "flat"),
    ("index embeddings={t}/embeddings out={t}/pictures", 2, "pictures", "new folder"),
    (SEARCH, 2, "none", "text, class_name and image"),
    (f"{SEARCH} text=cat class_name=dog", 2, "text, class_name", "one of"),
    (f"{SEARCH} text=qzxqzx", 3, "'qzxqzx'", "centres=sentence"),
    (f"{SEARCH} class_name=lion", 3, "'lion'", "'cat'"),
    (f"{SEARCH} class_name=cta", 3, "'cta'", "near: cat"),
    (f"{SEARCH} text=cat k=0", 2, "got 0", "at least 1"),
    (f"{SEARCH} image={{t}}/gone.png", 3, "gone.png", "name one that is there"),
    (f"{SEARCH} image={{t}}/notes.png", 3, "notes.png", "mend or remove"),
    (f"{SEARCH} text=cat among={{t}}/none", 3, "none", "semcentres index"),
    (f"{SEARCH} text=cat out={{t}}/found.txt", 2, "found.txt", ".csv"),
    (f"{SEARCH} text=cat report={{t}}/found.jpg", 2, "found.jpg", ".png"),
    ("export run_dir={t}/run format=tflite", 2, "tflite", "onnx"),
    ("export run_dir={t}/run layout=chwn", 2, "chwn", "nhwc"),
    ("export run_dir={t}/run num_images=1", 2, "num_images=1", "at least 2"),
    ("export run_dir={t}/none", 3, "none", "train"),
    ("serve model={t}/run port=99999", 2, "port=99999", "from 0"),
    ("serve model={t}/run host=nowhere.invalid", 2, "nowhere.invalid", "host="),
    ("serve model={t}/none port=0", 3, "none", "train"),
    ("serve model={t}/run index={t}/none port=0", 3, "none", "semcentres index"),
    ("compare out={t}/compared", 2, "compare", "centres=one_hot,word2vec"),
]
ROWS = [Fault(*row) for row in (*NAMES, *BANKS, *DATA, *TRAINING, *USING)]
