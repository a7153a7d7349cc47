"""What the command does, verb by verb, as functions of a checked configuration."""

from typing import TYPE_CHECKING

from semcentres.banks import centres as centres
from semcentres.bundle import export as export
from semcentres.evaluating import evaluate as evaluate
from semcentres.finding import search as search
from semcentres.indexing import index as index
from semcentres.predicting import predict as predict
from semcentres.settings import CheckConfig
from semcentres.sharding import embed as embed
from semcentres.training import train as train
from semcentres.web.serve import serve as serve

if TYPE_CHECKING:
    from semcentres.check import DataCheck


def check(config: CheckConfig) -> "DataCheck":
    """Read all images and say what is wrong with them, or would be in training."""
    from semcentres.check import check_data

    return check_data(config)
