"""The card of a bundle: the run's card, with what the hub wants to read at its head."""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from semcentres.card import MEASURES, USE, model_card
from semcentres.settings import TrainConfig

HEAD = ("nearest_centre_accuracy", "knn_accuracy", "map_at_r")

VERIFIED = """
## How exact it is

{images} test images through `{file}` and through the run that it was made of: embeddings differ by
up to {embeddings:.1e}, cosines by {cosines:.1e}, squared distances by {squared_distances:.1e};
{other_nearest_class} images have another nearest class. Within the model are done: {within}.
Before it, by its user: {before}.
"""

FILE_USE = """\
`{file}` takes `images` ({dtype}, {layout}, {shape}) and gives `embeddings`, `cosines` and
`squared_distances` to the centres of the classes, in the order of `class_names` in `bundle.json`.
"""


def bundle_card(
    results: Mapping[str, Any],
    config: TrainConfig,
    about: Mapping[str, Any],
    *,
    name: str,
    pictures: Sequence[str],
) -> str:
    """Return the card as the hub takes it: YAML front matter, then Markdown.

    Args:
        results: what was measured of the run.
        config: what the run was made with.
        about: what bundle.json holds.
        name: of the bundle, `org/name` where it is pushed.
        pictures: that are beside the card.
    """
    given = about["input"]
    told = {**given, "shape": " x ".join(map(str, given["shape"])), "file": about["file"]}
    use = USE if about["format"] == "safetensors" else FILE_USE.format(**told)
    shared = {**results, "origin": ""}
    checked = about["verification"]
    return (
        f"---\n{_front_matter(results, name)}\n---\n\n"
        + model_card(shared, config, path=name, pictures=pictures, use=use)
        + VERIFIED.format(
            **{**checked, **checked["max_difference"]},
            file=about["file"],
            within=", ".join(given["done_within"]),
            before=", ".join(given["done_before"]) or "nothing",
        )
        + "\nNo licence is stated; whoever shares the model states one at the head of this file.\n"
    )


def _front_matter(results: Mapping[str, Any], name: str) -> str:
    found = [
        EvalResult(
            task_type="image-classification",
            dataset_type=results["data"],
            dataset_name=results["data"],
            dataset_split=results["split"],
            metric_type=key,
            metric_name=MEASURES[key],
            metric_value=round(results[key], 4),
            metric_args={"seed": results["seed"]},
        )
        for key in HEAD
        if key in results
    ]
    data = ModelCardData(
        library_name="semcentres",
        pipeline_tag="image-feature-extraction",
        tags=["semcentres", "metric-learning", "image-retrieval"],
        model_name=name.rpartition("/")[2],
        eval_results=found,
    )
    return data.to_yaml()
