# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from stubs import labelled_scan, true_model

from spinefinder_fast import Spine, make_phantom
from spinefinder_fast.anatomy import name_of
from spinefinder_fast.batch import predict_batch
from spinefinder_fast.dataset import Entry, read_manifest, write_manifest
from spinefinder_fast.errors import AnnotationError, OutputError
from spinefinder_fast.evaluation import read_cases, score_cases
from spinefinder_fast.networks.weights import read_manifest as read_weights
from spinefinder_fast.procedure import Centre, Threshold, Tiling
from spinefinder_fast.report import write_verse_json
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.training import ablation as module
from spinefinder_fast.training.ablation import read_ablation, run_ablation
from spinefinder_fast.training.run import train_model

BASE = """
data = "set"

[train]
spacing_mm = 4.0
batch = 2
epochs = 1
precision = "float32"
validate_every = 0

[detection]
width = 0.0625
crop = [16, 16, 16]
samples_per_scan = 2
with_vertebrae = 1

[identification]
width = 0.03125
crop = [8, 16, 16]
samples_per_scan = 2
deform_sigma_mm = 0.0

[[variant]]
name = "As it is"
"""

LARGE = '[[variant]]\nname = "large tiles"\npredict = { tiling = "large" }\n'
MEAN = '[[variant]]\nname = "mean"\npredict = { centre = "mean", decode = "median" }\n'
SPHERES = '[[variant]]\nname = "spheres"\ntrain = { dense = "spheres" }\n'
LONGER = '[[variant]]\nname = "longer"\ndetection = { epochs = 2 }\n'
ZSCORE = '[[variant]]\nname = "z score"\ntrain = { intensity = "zscore" }\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a data set of scans that show their own labels; of one, those are not the annotated ones."""
    folder = tmp_path / "set"
    folder.mkdir()
    entries = []
    for i, split in enumerate(("train", "train", "validation", "validation", "test")):
        phantom = make_phantom("L1", "L3", spacing_mm=4.0, seed=i, fov_mm=(80, 80))
        shown = labelled_scan(phantom.spine, phantom.grid).array
        truth = phantom.spine
        if i == 3:
            truth = Spine(tuple(replace(v, name=name_of(v.label + 1)) for v in truth), truth.grid)
        files = folder / f"scan{i}.nii.gz", folder / f"scan{i}_ctd.json"
        write_nifti(files[0], np.where(shown > 0, shown, -1000).astype(np.int16), phantom.grid)
        write_verse_json(files[1], truth)
        entries.append(Entry(*files, f"p{i}", split))
    write_manifest(folder / "dataset.csv", entries)
    return tmp_path


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They are the pages' matter, and take longer than all else."""
    monkeypatch.setattr("spinefinder_fast.evaluation.report.picture", lambda case, scan: b"")


@pytest.fixture
def truth_networks(monkeypatch):
    monkeypatch.setattr(module, "load_model", lambda folder, device: true_model(4.0))


@pytest.fixture
def done(monkeypatch):
    """What is trained and predicted."""
    done = {"trained": [], "predicted": []}

    def train(training, validation, settings, folder, **rest):
        done["trained"].append(folder.name)
        train_model(training, validation, settings, folder, **rest)

    def predict(paths, folder, *rest, **more):
        done["predicted"].append(folder.parent.parent.name)
        return predict_batch(paths, folder, *rest, **more)

    monkeypatch.setattr(module, "train_model", train)
    monkeypatch.setattr(module, "predict_batch", predict)
    return done


def ablation(home: Path, *variants: str, base: str = BASE):
    (home / "ablation.toml").write_text("\n".join([base, *variants]))
    return read_ablation(home / "ablation.toml")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "ablation.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("truth_networks")
def test_what_is_the_same_is_trained_once(home, done):
    run_ablation(ablation(home, LARGE, LONGER, base="seeds = [3, 5]\n" + BASE), home / "run")
    kinds = [name.split("-")[0] for name in done["trained"]]
    # For each seed: two detection networks, for one is trained longer, and one identification network.
    assert (kinds.count("detection"), kinds.count("identification")) == (4, 2)
    assert len(set(done["trained"])) == 6
    assert sorted(p.name for p in (home / "run" / "trained").iterdir()) == sorted(done["trained"])
    assert done["predicted"] == [name for name in ("as-it-is", "large-tiles", "longer") for _ in range(2)]
    models = {}
    for variant in ("as-it-is", "large-tiles", "longer"):
        networks = read_weights(home / "run" / "variants" / variant / "seed5" / "model")["networks"]
        models[variant] = networks["detection"]["sha256"], networks["identification"]["sha256"]
        assert networks["identification"]["provenance"]["settings"]["seed"] == 5
    assert models["as-it-is"] == models["large-tiles"]
    assert models["as-it-is"][1] == models["longer"][1]
    assert models["as-it-is"][0] != models["longer"][0]
    # The file of a network is copied to the bit.
    trained = {path.read_bytes() for path in (home / "run" / "trained").glob("*/detection.safetensors")}
    assert (home / "run" / "variants" / "longer" / "seed3" / "model" / "detection.safetensors").read_bytes() in trained


@pytest.mark.usefixtures("truth_networks")
def test_the_table_says_what_an_evaluation_of_the_predictions_says(home):
    rows = run_ablation(ablation(home, MEAN), home / "run")
    assert [row.name for row in rows] == ["As it is", "mean"]
    for row, in_file, variant in zip(rows, table(home / "run"), ("as-it-is", "mean"), strict=True):
        place = home / "run" / "variants" / variant / "seed0"
        score = score_cases(read_cases(place / "predictions", home / "set", "validation").cases)["All"]
        assert (row.id_rate, row.mean_mm, row.std_mm) == (score.id_rate, score.mean_mm, score.std_mm)
        assert (row.annotated, row.missing, row.extra) == (score.annotated, score.missing, score.extra) == (6, 1, 1)
        assert float(in_file["id_rate"]) == row.id_rate == 0.5
        page = json.loads((place / "evaluation.json").read_text())
        assert page["mccouat"][0]["id_rate"] == 0.5
        assert page["mccouat"][0]["intervals"]["id_rate"] == list(row.id_rate_interval)
        assert page["title"] == row.name
        assert row.seconds > 0
        assert 0 <= row.dice <= 1
    assert rows[1].mean_mm != rows[0].mean_mm
    assert rows[1].id_rate_difference_interval == (0, 0)
    assert "| mean | 50.0 [0.0, 100.0] | +0.0 [+0.0, +0.0] |" in (home / "run" / "ablation.md").read_text()


@pytest.mark.usefixtures("truth_networks")
def test_what_is_done_is_not_done_again(home, done, monkeypatch):
    whole = run_ablation(ablation(home, LARGE, MEAN), home / "run")
    before = {key: list(value) for key, value in done.items()}
    assert run_ablation(ablation(home, LARGE, MEAN), home / "run") == whole
    assert done == before
    # Another variant changes, the reference is called otherwise, and one is new: that is all there is to do.
    changed = [LARGE.replace("large", "faithful", 1), MEAN.replace('centre = "mean"', 'centre = "mean_shift"'), SPHERES]
    rows = run_ablation(ablation(home, *changed), home / "run")
    assert done["predicted"][3:] == ["faithful-tiles", "mean", "spheres"]
    assert len(set(done["trained"][2:]) - set(done["trained"][:2])) == 2
    assert rows[0] == whole[0]
    # Centroids that are corrected are other data: everything is done anew.
    count = len(done["predicted"])
    manifest = read_manifest(home / "set")
    path = manifest.of_split("validation")[0].centroids
    path.write_text(path.read_text() + "\n")
    run_ablation(ablation(home, LARGE), home / "run")
    assert done["predicted"][count:] == ["as-it-is", "large-tiles"]


@pytest.mark.usefixtures("truth_networks")
def test_stopped_in_the_middle_it_goes_on_there(home, done, monkeypatch):
    once = predict_batch

    def full(paths, folder, *rest, **more):
        if "large-tiles" in str(folder):
            yield next(once(paths, folder, *rest, **more))
            raise OutputError("E_WRITE", "the disk is full")
        yield from once(paths, folder, *rest, **more)

    with monkeypatch.context() as context:
        context.setattr(module, "predict_batch", full)
        with pytest.raises(OutputError):
            run_ablation(ablation(home, LARGE, MEAN), home / "run")
    assert [row["name"] for row in table(home / "run")] == ["As it is"]
    rows = run_ablation(ablation(home, LARGE, MEAN), home / "run")
    assert done["predicted"] == ["large-tiles", "mean"]
    assert [row["name"] for row in table(home / "run")] == ["As it is", "large tiles", "mean"]
    assert rows[1].id_rate == rows[0].id_rate == 0.5


@pytest.mark.usefixtures("truth_networks")
def test_a_variant_may_be_trained_on_a_data_set_of_its_own(home, done):
    entries = list(read_manifest(home / "set"))
    other = '[[variant]]\nname = "one scan"\ndata = "other"\n'
    (home / "other").mkdir()
    write_manifest(home / "other" / "dataset.csv", [entries[0], *entries[2:4]])
    rows = run_ablation(ablation(home, other), home / "run")
    assert len(set(done["trained"])) == 4
    assert [(row.name, row.scans, row.id_rate) for row in rows] == [("As it is", 2, 0.5), ("one scan", 2, 0.5)]
    assert all(row.label_error > 0 for row in rows)
    # Who judges is nobody's training, under whatever split the other data set has him.
    write_manifest(home / "other" / "dataset.csv", [replace(entries[2], split="train")])
    with pytest.raises(AnnotationError, match=r"E_SPLIT_OVERLAP.*trains on p2, held out by"):
        run_ablation(ablation(home, other), home / "run")
    write_manifest(home / "other" / "dataset.csv", entries[2:4])
    with pytest.raises(AnnotationError, match="no scan in split train"):
        run_ablation(ablation(home, other), home / "run")


def test_networks_of_both_intensities_are_trained_and_run(home):
    # No stand-in for the networks: they have learnt next to nothing, but what is trained is what is run.
    lines = []
    even = '[[variant]]\nname = "even"\ntrain = { sampling = "even" }\n'
    rows = run_ablation(ablation(home, ZSCORE, even), home / "run", say=lines.append)
    assert len(rows) == 3
    for variant, intensity in (("as-it-is", "window"), ("z-score", "zscore"), ("even", "window")):
        networks = read_weights(home / "run" / "variants" / variant / "seed0" / "model")["networks"]
        assert {network["intensity"] for network in networks.values()} == {intensity}
        result = json.loads((home / "run" / "variants" / variant / "seed0" / "result.json").read_text())
        assert result["seconds"] > 0  # of scans that were done, and not refused
    assert not any("failed" in line or "refused" in line for line in lines)
    assert any("z score, seed 0: identification network" in line for line in lines)


@pytest.mark.usefixtures("truth_networks")
def test_the_test_split_is_judged_if_the_file_says_so(home):
    (row,) = run_ablation(ablation(home, base='judged = "test"\n' + BASE), home / "run")
    assert (row.scans, row.id_rate, row.id_rate_interval) == (1, 1.0, None)


def test_patients_are_kept_apart_and_splits_are_there(home):
    manifest = read_manifest(home / "set")
    entries = list(manifest)
    write_manifest(manifest.path, [*entries[:4], replace(entries[4], patient="p0")])
    with pytest.raises(AnnotationError, match="E_SPLIT_OVERLAP"):
        run_ablation(ablation(home), home / "run")
    write_manifest(manifest.path, entries[:2])
    with pytest.raises(AnnotationError, match="no scan in split validation"):
        run_ablation(ablation(home), home / "run")
    entries[2].scan.unlink()
    write_manifest(manifest.path, entries)
    with pytest.raises(AnnotationError, match=r"E_UNREADABLE.*scan2.nii.gz"):
        run_ablation(ablation(home), home / "run")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('data = "set"', "", "ablation.toml: data is None"),
        ('data = "set"', 'data = "set"\njugded = "test"', r"ablation.toml: unknown keys \['jugded'\]; known are"),
        ('data = "set"', 'data = "set"\njudged = "train"', "judged is 'train'; validation or test is needed"),
        ('data = "set"', 'data = "set"\nseeds = 3', "seeds is 3; a list of whole numbers"),
        ('data = "set"', 'data = "set"\nseeds = [1, 1]', "each is needed once"),
        ('data = "set"', 'data = "set"\nrecipe = "no.toml"', "no.toml"),
        ('data = "set"', "data =", "ablation.toml: not TOML"),
        ("[[variant]]", "[[varient]]", r"unknown keys \['varient'\]"),
        ("spacing_mm = 4.0", "spacing = 4.0", r"ablation.toml, train: unknown settings \['spacing'\]"),
        ("epochs = 1", 'epochs = "1"', "ablation.toml, train: "),
        ("width = 0.0625", "width = 0.001", "ablation.toml, detection: "),
        ('name = "large tiles"', "", "variant 2: name is None; words are needed"),
        ('name = "large tiles"', 'name = "as  IT is"', "another variant is called so"),
        ("tiling =", "tilling =", r"variant 'large tiles', predict: unknown keys \['tilling'\]; known are"),
        ('"large" }', '"huge" }', "variant 'large tiles', predict: tiling is 'huge'; faithful or large is needed"),
        (
            "predict = {",
            "train = { seed = 1 }\npredict = {",
            "variant 'large tiles', train: seed belongs to no variant",
        ),
        (
            "predict = { ",
            "identification = { intensity = 'zscore' }\npredict = { ",
            "differ in spacing_mm or intensity",
        ),
        ("predict = {", "train = 3\npredict = {", "variant 'large tiles': train is 3; a table of settings is needed"),
    ],
)
def test_a_file_that_cannot_be(tmp_path, old, new, says):
    assert old in BASE + LARGE
    text = (BASE + LARGE).replace(old, new)
    (tmp_path / "ablation.toml").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=says) as error:
        read_ablation(tmp_path / "ablation.toml")
    assert "\n" not in str(error.value)


def test_variants_change_what_all_share_and_what_the_recipe_says(tmp_path):
    (tmp_path / "recipe.toml").write_text("[detection]\nepochs = 7\nhu_jitter = 0.5\n[identification]\nflip = true\n")
    both = '[[variant]]\nname = "v"\ntrain = { flip = true, epochs = 4 }\ndetection = { epochs = 5 }\n'
    first, second = ablation(
        tmp_path, both, base='recipe = "recipe.toml"\npredict = { centre = "mean", decode = "median" }\n' + BASE
    ).variants
    detection, identification = first.settings["detection"], first.settings["identification"]
    assert (detection.epochs, detection.hu_jitter, detection.flip, detection.width) == (1, 0.5, False, 0.0625)
    assert (identification.epochs, identification.flip, identification.crop) == (1, True, (8, 16, 16))
    assert second.settings["detection"] == replace(detection, epochs=5, flip=True)
    assert second.settings["identification"] == replace(identification, epochs=4)
    assert first.procedure == second.procedure
    assert first.procedure.centre == "mean"


def test_the_file_of_the_package_can_be_read():
    shipped = read_ablation(Path(module.__file__).parent / "recipes" / "ablation.toml")
    assert shipped.variants[0].settings["detection"].dense == "discs"
    assert {v.procedure.centre for v in shipped.variants} == {"median", "mean", "geometric_median", "mean_shift"}
    assert {v.settings["detection"].intensity for v in shipped.variants} == {"window", "zscore"}
    assert {v.settings["identification"].sampling for v in shipped.variants} == {"paper", "even"}


def test_the_example_of_the_documentation_can_be_read(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "ablation.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "ablation.toml").write_text(example)
    shown = read_ablation(tmp_path / "ablation.toml")
    assert (shown.data, shown.judged, shown.seeds) == (tmp_path / "set", "validation", (0, 1, 2))
    assert [v.name for v in shown.variants][-1] == "large tiles, mean shift"
    assert shown.variants[-1].folder == "large-tiles-mean-shift"
    for choice, values in (("tiling", Tiling), ("centre", Centre), ("threshold", Threshold)):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{choice}`"))
        assert all(f"`{value}`" in row for value in get_args(values))
