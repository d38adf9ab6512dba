# SPDX-License-Identifier: Apache-2.0
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from spinefinder_fast.training import build_set
from spinefinder_fast.training.settings import PAPER, read_recipe

RECIPES = Path(str(resources.files("spinefinder_fast.training"))) / "recipes"


def test_the_defaults_are_the_papers():
    detection, identification = PAPER["detection"], PAPER["identification"]
    assert (detection.crop, detection.batch, detection.epochs) == ((64, 64, 80), 16, 50)
    assert (detection.samples_per_scan, detection.with_vertebrae) == (5, 4)
    assert (identification.crop, identification.batch, identification.epochs) == ((8, 80, 320), 32, 35)
    assert identification.samples_per_scan == 100
    assert {s.learning_rate for s in PAPER.values()} == {1e-3}
    assert {s.width for s in PAPER.values()} == {1.0}
    assert {s.spacing_mm for s in PAPER.values()} == {1.0}


# Files of ablations have variants; test_ablation.py and test_ingredients.py read them.
ABLATIONS = {RECIPES / "ablation.toml", RECIPES / "ingredients.toml"}


@pytest.mark.parametrize("recipe", sorted(set(RECIPES.glob("*.toml")) - ABLATIONS), ids=lambda p: p.stem)
def test_a_recipe_of_shipped_weights_is_read(recipe):
    for kind in PAPER:
        assert read_recipe(recipe, kind).kind == kind


def test_the_later_recipes_go_on_with_the_networks_of_the_first():
    for kind in PAPER:
        first, second = (read_recipe(RECIPES / f"{name}.toml", kind) for name in ("synthetic", "real"))
        assert first.spec == second.spec
    assert read_recipe(RECIPES / "settle.toml", "identification").spec == second.spec


def test_the_set_of_the_shipped_weights_keeps_patients_apart():
    build_set.check_split(tomllib.loads((RECIPES / "synthetic.toml").read_text())["set"])


def test_an_unknown_setting_is_named(tmp_path):
    (tmp_path / "r.toml").write_text("[detection]\nepoch = 3\n")
    with pytest.raises(ValueError, match="epoch"):
        read_recipe(tmp_path / "r.toml", "detection")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[detecton]\nepochs = 3\n", "detecton"),
        ("detection = 3\n", "a table"),
        ("[detection]\ncrop = 32\n", "three whole numbers"),
    ],
)
def test_a_recipe_that_would_train_something_else_is_refused(tmp_path, text, says):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_recipe(tmp_path / "r.toml", "detection")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("detection", 'precision = "bf16"'),
        ("detection", 'intensity = "windw"'),
        ("detection", "batch = 0"),
        ("detection", "crop = [64, 64, 81]"),
        ("identification", "crop = [16, 80, 320]"),
        ("identification", "spacing_mm = -1"),
        ("identification", "slice_step = 0"),
        ("detection", "slice_step = 4"),
        ("detection", 'width = "a"'),
        ("detection", "flip = 1"),
        ("detection", "epochs = 2.5"),
        ("detection", "crop = [64, 64]"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(tmp_path, kind, change):
    (tmp_path / "r.toml").write_text(f"[{kind}]\n{change}\n")
    with pytest.raises(ValueError, match=change.split()[0].removesuffix("_mm")):
        read_recipe(tmp_path / "r.toml", kind)


def test_a_recipe_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.toml: cannot be opened"):
        read_recipe(tmp_path / "no.toml", "detection")
    (tmp_path / "bad.toml").write_text("[detection\n")
    with pytest.raises(ValueError, match=r"bad\.toml: is no TOML"):
        read_recipe(tmp_path / "bad.toml", "detection")
    (tmp_path / "whole.toml").write_text("[detection]\nlearning_rate = 1\n")
    assert read_recipe(tmp_path / "whole.toml", "detection").learning_rate == 1


def test_a_set_is_only_built_into_an_empty_folder(tmp_path):
    (tmp_path / "old").touch()
    with pytest.raises(ValueError, match="not empty"):
        build_set.build({"set": {"real": [], "labelmaps": []}}, tmp_path, tmp_path)


def test_a_patient_who_is_held_out_and_trained_on_is_refused():
    table = {"real": ["a", "b"], "labelmaps": ["map_c", "map_b"], "held_out": ["d"], "patients": {"map_b": "b"}}
    build_set.check_split(table)
    with pytest.raises(ValueError, match="d: among labelmaps and held out"):
        build_set.check_split({**table, "patients": {"map_c": "d"}})
    with pytest.raises(ValueError, match="a: among real and held out"):
        build_set.check_split({**table, "held_out": ["a"]})
