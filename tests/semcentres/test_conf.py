"""Every YAML composes, fits its schema, and names keywords that its target takes."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object

from centre_builders.errors import UsageError
from semcentres.components import build
from semcentres.compose import compose_settings, config_folder, options
from semcentres.settings import TrainConfig

GROUPS = sorted(p.name for p in config_folder().iterdir() if p.is_dir())
ALL = [(group, option) for group in GROUPS for option in options(group)]


def components(node: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from components(value)


def parts(config: TrainConfig) -> dict[str, Any]:
    return {
        "source": config.data.source,
        "builder": config.centres.builder,
        "views": config.views,
        "encoder": config.encoder,
        "objective": config.objective,
    }


@pytest.mark.parametrize(("group", "option"), ALL)
def test_option_composes_and_binds(group: str, option: str) -> None:
    config = compose_settings("train", [f"{group}={option}"])
    found = list(components(parts(config)))
    assert len(found) >= 5
    for component in found:
        keywords = {k: v for k, v in component.items() if not k.startswith("_")}
        signature = inspect.signature(get_object(component["_target_"]))
        bind = signature.bind_partial if component.get("_partial_") else signature.bind
        bind(**keywords)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["centres=glove"], "one_hot, own_hierarchy"),
        (["nonsense=1"], "trainer, views"),
        (["views=3"], "views=3: no such views; there are emoji, fashion"),
        (["trainer.step=5"], "did you mean trainer.steps?"),
        (["objective.temprature=0.1"], "did you mean objective.temperature?"),
        (["trainer.steps=many"], "trainer.steps"),
        (["+trainer.steps=5"], "trainer.steps is there already: write it without '+'"),
        (["++trainer.stpes=5"], "no key trainer.stpes; did you mean trainer.steps?"),
        (["+nonsense=1"], "no key nonsense"),
        (["seed"], "seed"),
    ],
)
def test_wrong_word_says_what_exists(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose_settings("train", words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_group_of_another_verb_is_a_wrong_key() -> None:
    for word in ("views=3", "views=two"):
        with pytest.raises(UsageError, match=f"{word}: no key views; did you mean num_views"):
            compose_settings("predict", ["run_dir=r", "images=i", word])


FORBIDDEN = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "torch.load",
    "gensim.models.KeyedVectors.load",
    "semcentres.checkpoint.shutil.rmtree",
    "semcentres.data.folder.Image.open",
    "semcentres_evil.run",
    "semcentres.nothing.here",
]


@pytest.mark.parametrize("target", FORBIDDEN)
@pytest.mark.parametrize("nested", [False, True])
def test_foreign_target_is_refused(target: str, nested: bool) -> None:
    component: dict[str, Any] = {"_target_": target, "_partial_": True}
    if nested:
        ours = "semcentres.encoder.small_conv"
        component = {"_target_": ours, "_partial_": True, "width": [{"deep": component}]}
    with pytest.raises(UsageError, match=target.replace(".", r"\.")):
        build(component)


def test_wrong_keyword_value_names_the_target() -> None:
    target = "semcentres.views.RandomView"
    with pytest.raises(UsageError, match="RandomView: crop must be"):
        build({"_target_": target, "crop": 2.0})


def test_home_is_put_in_the_place_of_its_sign(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = compose_settings("train", ["data=folder", "data.root=~/a b", "run_dir=~/runs/a"])
    assert (config.data.source["root"], config.run_dir) == (f"{tmp_path}/a b", f"{tmp_path}/runs/a")
    assert compose_settings("search", ["run_dir=r", "text='~/b'"]).text == "~/b"
