# SPDX-License-Identifier: Apache-2.0
import json
import tomllib
from pathlib import Path

import pytest

from spinefinder_fast import make_phantom
from spinefinder_fast.dataset import read_manifest
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.training import build_set, ingredients
from spinefinder_fast.training.ablation import ablation_of
from spinefinder_fast.training.build_set import INGREDIENTS, check_split
from spinefinder_fast.training.ingredients import compare_ingredients

RECIPE = Path(build_set.__file__).with_name("recipes") / "ingredients.toml"

FILE = """
judged = "validation"

[set]
seed = 1
spacing_mm = 4.0
real = []
held_out = ["ann"]
crops_per_scan = 2
labelmaps = []
phantoms = 2

[[variant]]
name = "all"

[[variant]]
name = "median"
predict = { decode = "median" }

[[variant]]
name = "quiet"
set = { without = ["noise"] }

[[variant]]
name = "real"
set = { real = ["ben"], phantoms = 0 }
"""


@pytest.fixture
def data(tmp_path):
    for seed, name in enumerate(("ann", "ben")):
        phantom = make_phantom("T12", "L2", spacing_mm=4.0, seed=seed)
        folder = tmp_path / "data" / "scans" / name
        folder.mkdir(parents=True)
        write_nifti(folder / "ct.nii.gz", phantom.array, phantom.grid)
        centroids = {v.name: {"lps_mm": v.lps} for v in phantom.spine}
        (folder / "centroids.json").write_text(json.dumps({"centroids": centroids}))
    (tmp_path / "file.toml").write_text(FILE)
    return tmp_path


def half_built(recipe, data, output, processes):
    output.mkdir(parents=True)
    (output / "half").write_text("")
    raise KeyboardInterrupt


def test_every_variant_is_trained_on_its_set_and_judged_by_what_all_hold_out(data, monkeypatch):
    asked = []
    monkeypatch.setattr(ingredients, "run_ablation", lambda ablation, *_, **__: asked.append(ablation) or [])
    said = []
    # What a run that was stopped left of a set is made anew.
    monkeypatch.setattr(ingredients, "build", half_built)
    with pytest.raises(KeyboardInterrupt):
        compare_ingredients(data / "file.toml", data / "data", data / "out")
    monkeypatch.setattr(ingredients, "build", build_set.build)
    for _ in range(2):
        compare_ingredients(data / "file.toml", data / "data", data / "out", say=said.append)
    assert len(said) == 3  # the second time nothing was left to build
    ablation, again = asked
    assert again == ablation
    base, median, quiet, real = ablation.variants
    assert base.data is None
    assert median.data is None
    (judge,) = read_manifest(ablation.data).of_split("validation")
    assert (judge.patient, judge.scan.parent.name) == ("ann", "ann")
    trained_on = {variant.name: read_manifest(variant.data).of_split("train") for variant in (quiet, real)}
    assert [entry.scan.name for entry in trained_on["quiet"]] == ["phantom_000_ct.nii.gz", "phantom_001_ct.nii.gz"]
    assert {entry.patient for entry in trained_on["real"]} == {"ben"}
    assert len(trained_on["real"]) == 2


def test_who_is_held_out_is_not_trained_on(data):
    (data / "file.toml").write_text(FILE.replace('real = ["ben"]', 'real = ["ann"]'))
    with pytest.raises(ValueError, match="ann: among real and held out"):
        compare_ingredients(data / "file.toml", data / "data", data / "out")


def test_the_recipe_leaves_out_every_ingredient_once():
    content = tomllib.loads(RECIPE.read_text())
    table = content.pop("set")
    sets = [table | variant.pop("set", {}) for variant in content["variant"]]
    for of_variant in sets:
        check_split(of_variant)
    left_out = [ingredient for of_variant in sets for ingredient in of_variant.get("without", ())]
    assert sorted(left_out) == sorted(INGREDIENTS)
    # As many scans to learn from in each of them.
    held = [
        len(s["real"]) * s["crops_per_scan"] + len(s["labelmaps"]) * s["renders_per_labelmap"] + s["phantoms"]
        for s in sets
    ]
    assert set(held) == {120}
    assert len(ablation_of({**content, "data": "x"}, RECIPE).variants) == len(sets)
