"""The schema that each verb's YAML must fit; its field comments are the configuration reference.

Components (a source, a builder, a view, an encoder, an objective) are mappings with a `_target_`
and keyword arguments; the rest is typed here.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class DataSettings:
    """Where images come from and which labels are seen."""

    source: Any = MISSING  # component: keyword arguments -> Source
    root: str | None = None  # folder of the data, or manifest; None looks in the usual places
    labels_per_class: int | None = None  # labelled images a class; None takes all labels
    validation: int = 0  # training images kept out to tune on, where the data has none of its own


@dataclass
class CentresSettings:
    """How class names become unit vectors."""

    builder: Any = None  # component: names -> raw vectors
    bank: str | None = None  # a bank file to take instead of building one
    dimension: int | None = None  # width of the centres; None keeps the builder's own
    remove_mean: bool | None = None  # None: where the vectors come from text
    remove_directions: int = 0  # principal directions to project out, after the mean
    whiten: float | None = None  # shrinkage of a whitening, above 0; None does not whiten
    own_axis: float | None = None  # share of each centre that is an axis of its own, in (0, 1)
    assign_to: str | None = None  # folder of `embed`: each class gets the centre nearest its images
    descriptions: Any = None  # a mapping: class name -> text to read in its place


@dataclass
class TrainerSettings:
    """The loop; every length is in steps."""

    steps: int = 2000  # of the optimiser
    labelled_batch: int = 64  # labelled images a step, of all processes together
    unlabelled_batch: int = 448  # no more than there are; 0 trains on labels alone
    balanced_batches: bool = False  # every labelled batch holds the classes in equal shares
    learning_rate: float = 3e-3  # AdamW; linear warm-up, then cosine to 0
    weight_decay: float = 1e-2  # of AdamW, decoupled
    warmup_steps: int = 50  # in which the learning rate rises from 0
    ema_decay: float = 0.99  # of the averaged encoder, which is the one that is kept
    learn: str = "all"  # or last: the last layer alone, on features that stay (linear probe)
    teacher: bool = False  # the averaged encoder embeds the first view of unlabelled images
    log_every: int = 50  # steps between the records of the losses
    assignment_every: int = 0  # steps between two looks at all unlabelled images; 0: none
    checkpoint_every: int = 500  # steps between checkpoints; validation images are embedded then
    device: str = "auto"  # auto, cpu, cuda, mps
    shard: bool = (
        False  # FSDP: processes share weights, gradients and moments; the average is whole
    )
    rank_timeout: float = 300.0  # seconds that processes under torchrun wait for each other
    precision: str = "auto"  # auto is bf16-mixed where the hardware has it, else 32-true
    compile: bool = False  # torch.compile the encoder; half a minute, and no gain on a small one


@dataclass
class TrainConfig:
    """`semcentres train`."""

    data: DataSettings = field(default_factory=DataSettings)
    centres: CentresSettings = field(default_factory=CentresSettings)
    views: dict[str, Any] = MISSING  # name -> component: images, generator -> view
    encoder: Any = MISSING  # component: channels, dimension -> backbone
    objective: Any = MISSING  # component: EmbeddedBatch -> terms
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    start_from: str | None = None  # a run folder whose encoder to go on with (pretext, fine-tune)
    seed: int = 0  # draws the labelled images, the split, the order, the views and the weights
    run_dir: str | None = None  # None: runs/<data>-<centres>-seed<seed>-<hash of the settings>
    restart: bool = False  # begin at step 0 and overwrite what the run folder holds
    force: list[str] = field(default_factory=list)  # go on with other: settings, bank, data
    max_time: str | None = None  # HH:MM:SS of training, then save and exit with code 75
    force_temperature: bool = False  # train above the bank's safe temperature
    split: str = "test"  # what is reported at the end: test or validation
    index: str = "auto"  # of the training images: auto, flat (exact), ivf or hnsw
    index_recall: float = 0.95  # recall@10 wanted of an index that is not exact, in (0, 1]


@dataclass
class CentresConfig:
    """`semcentres centres`."""

    data: DataSettings = field(default_factory=DataSettings)
    centres: CentresSettings = field(default_factory=CentresSettings)
    names: list[Any] | None = None  # class names, in place of the data's
    names_file: str | None = None  # .txt, .csv, .json, a folder of folders, torchvision:WEIGHTS
    number_duplicates: bool = False  # call the second "crane" of a file "crane (2)"
    bank: str | None = None  # a bank to change or show, in place of building one
    add: list[Any] | None = None  # new classes, by the bank's own builder; no centre moves
    use_builder: bool = False  # add by centres.builder instead, as for centres=prototypes
    rename: Any = None  # a mapping: old name -> new name
    retire: list[str] | None = None  # classes to remove
    close: float = 20.0  # degrees; a new centre that is closer to another is reported
    out: str | None = None  # file to write the bank to; None writes none
    audit: bool = False  # check names and centres instead; exit code 0 says: safe to train
    threshold: float = 0.95  # of the audit: cosine above which two centres are near
    audit_out: str | None = None  # JSON file to write the audit to
    report: str | None = None  # folder to write pictures of the bank to
    seed: int = 0  # of centres that are drawn


@dataclass
class EvaluateConfig:
    """`semcentres evaluate`."""

    run_dir: str = MISSING  # a run folder made by train
    bank: str | None = None  # other centres to classify by; None takes the run's own
    force: list[str] = field(default_factory=list)  # evaluate on other: data
    split: str = "test"  # test or validation
    num_views: int = 1  # above 1: what so many views of an image bring, and cost (report/views.png)


@dataclass
class RobustnessConfig:
    """`semcentres robustness`."""

    run_dir: str = MISSING  # a run folder made by train
    split: str = "test"  # test or validation
    num_images: int = 500  # evenly spaced images of the split
    l2: list[float] = field(default_factory=lambda: [0.25, 0.5, 1.0])  # radii, pixels in [0, 1]
    linf: list[float] = field(default_factory=lambda: [0.01, 0.03])  # radii of attacks alone
    steps: int = 20  # of each attack
    certify: str = "lipschitz"  # or smoothing: the class under noise, of encoders trained on noise
    sigma: float = 0.25  # of smoothing: standard deviation of the noise
    samples: int = 1000  # of smoothing: noisy copies an image
    alpha: float = 0.001  # of smoothing: probability that a radius is wrong
    num_views: int = 1  # above 1: what so many views of an image bring, also at l2's least radius
    seed: int = 0  # of the attacks' beginnings and of the noise


@dataclass
class PredictConfig:
    """`semcentres predict`."""

    run_dir: str = MISSING  # a run folder made by train, or one that Model.save wrote
    images: Any = None  # a file, a folder, a table (path), or a list; None: a split
    split: str = "test"  # of the run's data: train, test or validation
    num_views: int = 1  # that are averaged; called so because `views` is a group of conf/
    average: str = "embedding"  # what is averaged: embedding, distance or probability
    out: str | None = None  # FILE.csv or FILE.jsonl; csv or jsonl: standard output; None: a table


@dataclass
class EmbedConfig:
    """`semcentres embed`."""

    run_dir: str = MISSING  # a run folder made by train
    images: Any = None  # a file, a folder, a table (path,label), or a list; None: a split
    split: str = "test"  # of the run's data: train, test or validation
    out: str | None = None  # folder to write to; None: <run_dir>/embeddings/<split>
    part_rows: int = 16384  # images of a part, of which none is done twice
    engine: str = "local"  # who does the parts: local, torchrun (its processes), ray (a cluster)


@dataclass
class IndexConfig:
    """`semcentres index`."""

    embeddings: str = MISSING  # folder of `embed`
    out: str = MISSING  # folder to write to
    kind: str = "auto"  # flat (exact), ivf, hnsw; auto: flat up to 200,000 images, then ivf
    recall: float = 0.95  # recall@10 wanted of an index that is not exact, in (0, 1]
    on_disk: bool = False  # ivf: its lists stay in a file, for more images than memory holds


@dataclass
class RetrieveConfig:
    """`semcentres retrieve`."""

    embeddings: str = MISSING  # folder of `embed`, with labels
    out: str | None = None  # FILE.json to write the metrics to


@dataclass
class SearchConfig:
    """`semcentres search`."""

    run_dir: str = MISSING  # a run folder made by train
    among: str | None = (
        None  # folder of `index`, or of `embed`; None: the run's own training images
    )
    text: str | None = None  # what to search for: words,
    class_name: str | None = None  # or one of the run's classes,
    image: str | None = None  # or an image file
    k: int = 12  # images to find
    out: str | None = None  # FILE.json or FILE.csv to write them to
    report: str | None = None  # FILE.png to draw them in


@dataclass
class CheckConfig:
    """`semcentres data check`."""

    data: DataSettings = field(default_factory=DataSettings)
    centres: CentresSettings = field(default_factory=CentresSettings)
    objective: Any = MISSING  # component, as of train: its temperature must be safe
    seed: int = 0  # of the split, as in train
    out: str | None = None  # JSON file to write what was found to


@dataclass
class ExportConfig:
    """`semcentres export`."""

    run_dir: str = MISSING  # a run folder made by train
    format: str = (
        "onnx"  # onnx, pt2 (torch.export), torchscript, or safetensors for semcentres.load
    )
    out: str | None = None  # folder to write to; None: <run_dir>/export/<format>
    layout: str = "nhwc"  # order of an image's axes as given: nhwc, nchw; safetensors: nchw
    num_images: int = 256  # test images that it is compared with the run on
    tolerance: float = 1e-4  # largest difference of an output from the run's own
    push_to: str | None = None  # org/name on the Hugging Face hub, private where it is new


@dataclass
class ServeConfig:
    """`semcentres serve`."""

    model: str = MISSING  # a run folder made by train
    index: str | None = None  # folder of `index`; None: the run's training images
    port: int = 8000  # 0 takes a free one
    host: str = "127.0.0.1"  # address to listen at; others than this let other machines in


SCHEMAS = {
    "train": TrainConfig,
    "check": CheckConfig,
    "centres": CentresConfig,
    "evaluate": EvaluateConfig,
    "robustness": RobustnessConfig,
    "predict": PredictConfig,
    "embed": EmbedConfig,
    "index": IndexConfig,
    "retrieve": RetrieveConfig,
    "search": SearchConfig,
    "export": ExportConfig,
    "serve": ServeConfig,
}
