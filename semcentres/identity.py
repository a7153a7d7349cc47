"""What makes two runs the same run: their settings, less what is incidental."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from centre_builders.errors import UsageError
from semcentres.compose import load_config
from semcentres.settings import TrainConfig

log = logging.getLogger(__name__)

# What may differ between a run and its resumption.
INCIDENTAL = (
    "run_dir", "restart", "force", "force_temperature", "max_time", "split", "index",
    "index_recall", "trainer.rank_timeout", "trainer.shard",
)  # fmt: skip
FORCEABLE = ("settings", "bank", "data")


def default_run_dir(config: TrainConfig, source_name: str) -> Path:
    """Return a name that equal settings share and that holds no clock, so that ranks agree."""
    builder = config.centres.builder
    kind = builder["_target_"].split(".")[-2] if builder else "bank"
    mark = hashlib.sha256(json.dumps(_essence(config), sort_keys=True).encode()).hexdigest()[:8]
    data = re.sub(r"[^\w.-]+", "-", source_name)
    return Path("runs") / f"{data}-{kind}-seed{config.seed}-{mark}"


def _essence(config: TrainConfig) -> dict[str, Any]:
    return {k: v for k, v in _flat(asdict(config)).items() if k not in INCIDENTAL}


def check_same_config(run_dir: Path, config: TrainConfig) -> None:
    """Refuse a run folder that other settings have made.

    Raises:
        UsageError: the differences are listed.
    """
    path = run_dir / "config.yaml"
    if not path.exists():
        return
    before, now = (_essence(c) for c in (load_config(path), config))
    changed = [
        f"{key}: {before.get(key)} there, {now.get(key)} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changed and "settings" in config.force:
        log.warning("%s was begun with other settings (%s; forced)", run_dir, "; ".join(changed))
    elif changed:
        raise UsageError(
            f"{run_dir} holds a run with other settings ({'; '.join(changed[:5])});"
            " choose another run_dir, or set restart=true to overwrite it, or force=[settings] to"
            " go on all the same"
        )


def check_force(force: Sequence[str]) -> None:
    """Refuse to override what nothing is called.

    Raises:
        UsageError: a word is none of `FORCEABLE`.
    """
    unknown = sorted(set(force) - set(FORCEABLE))
    if unknown:
        raise UsageError(f"force={unknown[0]}: there are {', '.join(FORCEABLE)}")


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401
    if isinstance(node, Mapping):
        return {k: v for key in node for k, v in _flat(node[key], f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): node}
