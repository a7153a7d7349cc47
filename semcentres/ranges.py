"""Values of the configuration that no code can take, told before anything is begun."""

from math import inf

from omegaconf import DictConfig, OmegaConf

from centre_builders.errors import UsageError

# The smallest and the largest number that is allowed; a verb has some of these keys.
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "data.labels_per_class": (1, inf),
    "data.validation": (0, inf),
    "centres.remove_directions": (0, inf),
    "trainer.steps": (1, inf),
    "trainer.labelled_batch": (0, inf),
    "trainer.unlabelled_batch": (0, inf),
    "trainer.learning_rate": (1e-12, 1e6),
    "trainer.weight_decay": (0, 1e6),
    "trainer.warmup_steps": (0, inf),
    "trainer.ema_decay": (0, 1),
    "trainer.log_every": (1, inf),
    "trainer.assignment_every": (0, inf),
    "trainer.checkpoint_every": (1, inf),
    "trainer.devices": (1, inf),
    "encoder.width": (1, inf),
    "close": (0, 180),
    "threshold": (-1, 1),
    "num_views": (1, inf),
    "num_images": (2, inf),
    "tolerance": (0, inf),
    "port": (0, 65_535),
}

CHOICES = {
    "engine": ("local", "torchrun", "ray"),
    "split": ("train", "test", "validation"),
    "trainer.learn": ("all", "last"),
    "trainer.device": ("auto", "cpu", "cuda", "gpu", "mps"),
    "trainer.precision": ("auto", "32-true", "bf16-mixed", "16-mixed"),
}  # fmt: skip


def check_ranges(config: DictConfig) -> None:
    """Refuse a number that is out of its range, and a word that is none of its choices.

    Raises:
        UsageError: the key, its value and what it may be are told.
    """
    for key, choices in CHOICES.items():
        word = OmegaConf.select(config, key)
        if word is not None and word not in choices:
            raise UsageError(f"{key}={word}: there are {', '.join(choices)}")
    for key, (low, high) in RANGES.items():
        value = OmegaConf.select(config, key)
        # Not a number is in no range either.
        if isinstance(value, int | float) and not low <= value <= high:
            wanted = f"at least {low:g}" if high == inf else f"from {low:g} to {high:g}"
            raise UsageError(f"{key}={value} is out of range; give a number {wanted}")
    batches = ("trainer.labelled_batch", "trainer.unlabelled_batch")
    if all(OmegaConf.select(config, key) == 0 for key in batches):
        raise UsageError(f"{'=0 and '.join(batches)}=0 train on nothing; one must be at least 1")
