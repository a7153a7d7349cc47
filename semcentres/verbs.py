"""What the command does, verb by verb, as functions of a checked configuration."""

from typing import TYPE_CHECKING

from semcentres.banks import centres as centres
from semcentres.bundle import export as export
from semcentres.evaluating import evaluate as evaluate
from semcentres.finding import search as search
from semcentres.indexing import index as index
from semcentres.predicting import predict as predict
from semcentres.retrieving import retrieve as retrieve
from semcentres.settings import CheckConfig, RobustnessConfig
from semcentres.sharding import embed as embed
from semcentres.training import train as train
from semcentres.web.serve import serve as serve

if TYPE_CHECKING:
    from semcentres.check import DataCheck
    from semcentres.checkpoint import Results, RunFolder
    from semcentres.data.source import Source


def check(config: CheckConfig) -> "DataCheck":
    """Read all images and say what is wrong with them, or would be in training."""
    from semcentres.check import check_data

    return check_data(config)


def robustness(
    config: RobustnessConfig, source: "Source | None" = None
) -> "tuple[RunFolder, Results]":
    """Attack a trained run's images, and certify them."""
    # Imported here: pictures take longer to load than a training takes to begin.
    from semcentres.measure_robustness import robustness

    return robustness(config, source)
