"""The pictures of a report, one function each: arrays in, a PNG out."""

from semcentres.evaluation.figures_compare import draw_comparison, draw_race
from semcentres.evaluation.figures_curves import draw_curves
from semcentres.evaluation.figures_gallery import draw_gallery
from semcentres.evaluation.figures_map import draw_map
from semcentres.evaluation.figures_matrices import draw_bank, draw_confusion, draw_gram
from semcentres.evaluation.figures_reliability import draw_reliability, draw_views
from semcentres.evaluation.figures_toy import draw_toy
from semcentres.evaluation.figures_trade_off import draw_recorded

__all__ = [
    "draw_bank",
    "draw_comparison",
    "draw_confusion",
    "draw_curves",
    "draw_gallery",
    "draw_gram",
    "draw_map",
    "draw_race",
    "draw_recorded",
    "draw_reliability",
    "draw_toy",
    "draw_views",
]
