# SPDX-License-Identifier: Apache-2.0
"""What each choice of the method is worth: variants of one training and procedure, from one file to one table."""

from __future__ import annotations

import csv
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import Any, Final

import torch

from spinefinder_fast.batch import predict_batch
from spinefinder_fast.dataset import SPLITS, Entry, Manifest, read_manifest
from spinefinder_fast.errors import AnnotationError
from spinefinder_fast.evaluation import read_cases, write_report
from spinefinder_fast.evaluation.comparison import Comparison, Contender, compare, write_comparison
from spinefinder_fast.files import make_folder, write_bytes
from spinefinder_fast.networks.weights import Kind, load_model, load_network, save_network
from spinefinder_fast.networks.weights import read_manifest as read_weights
from spinefinder_fast.procedure import Procedure
from spinefinder_fast.training.loop import LOG
from spinefinder_fast.training.run import ALONE, Watcher, train_model
from spinefinder_fast.training.settings import PAPER, TrainingSettings, read_recipe, with_changes
from spinefinder_fast.training.team import Team

TABLE: Final = "ablation"
"""Of the files with the table: ``ablation.csv`` and so on."""

_KINDS: Final[tuple[Kind, ...]] = ("detection", "identification")
_CHANGES: Final = ("train", *_KINDS, "predict")
_KEYS: Final = ("data", "recipe", "judged", "seeds", "variant", *_CHANGES)
_VARIANT_KEYS: Final = ("name", "data", *_CHANGES)


@dataclass(frozen=True)
class Variant:
    """One way of training and predicting.

    Attributes:
        name: of its row in the table.
        settings: of both networks, but for the seed.
        procedure: how they are run and their votes counted.
        data: data set whose training split it is trained on, of one other than the ablation's; None is the ablation's.
    """

    name: str
    settings: Mapping[Kind, TrainingSettings]
    procedure: Procedure
    data: Path | None = None

    @property
    def folder(self) -> str:
        """The name, as one that a folder may have."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-.").lower()


@dataclass(frozen=True)
class Ablation:
    """What is compared, and on what.

    Attributes:
        data: the data set: a folder with its manifest, or that file.
        judged: the split on which the variants are judged.
        seeds: each variant is trained once with each.
        variants: the first is the one that all others are compared with.
    """

    data: Path
    judged: str
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]


def read_ablation(path: Path) -> Ablation:
    """Read what a TOML file wants compared.

    ``data`` names the data set and ``recipe`` a recipe, both from the file's folder on. What ``[train]`` (both
    networks), ``[detection]``, ``[identification]`` and ``[predict]`` say holds for all variants; each ``[[variant]]``
    has a ``name`` and the same tables for what it changes, and ``data`` where it is trained on another data set.

    Raises:
        ValueError: the file is not TOML, or a key or a value makes no sense, with its place.
        OSError: the file or its recipe cannot be read.
    """
    with path.open("rb") as file:
        try:
            content = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from error
    return ablation_of(content, path)


def ablation_of(content: Mapping[str, Any], path: Path) -> Ablation:
    """What the content of such a file at `path` wants compared; errors as of `read_ablation`."""
    _check_keys(content, _KEYS, path)
    data, recipe, judged = content.get("data"), content.get("recipe"), content.get("judged", "validation")
    seeds, tables = content.get("seeds", [0]), content.get("variant", [])
    if not isinstance(data, str):
        raise ValueError(f"{path}: data is {data!r}; the folder of a data set is needed")
    if judged not in SPLITS[1:]:
        raise ValueError(f"{path}: judged is {judged!r}; {' or '.join(SPLITS[1:])} is needed")
    if not (isinstance(seeds, list) and seeds and all(type(s) is int and s >= 0 for s in seeds)):
        raise ValueError(f"{path}: seeds is {seeds!r}; a list of whole numbers from 0 on is needed")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{path}: seeds is {seeds!r}; each is needed once")
    if not (isinstance(tables, list) and tables and all(isinstance(table, dict) for table in tables)):
        raise ValueError(f"{path}: has no variant; [[variant]] with a name is needed for each")
    base: dict[Kind, TrainingSettings] = dict(PAPER)
    if recipe is not None:
        recipe = path.parent / str(recipe)
        try:
            base = {kind: read_recipe(recipe, kind) for kind in _KINDS}
        except (TypeError, ValueError) as error:
            raise ValueError(_at(f"{recipe}", error)) from error
    shared = _changed(Variant("", base, Procedure()), content, str(path))
    variants = []
    for number, table in enumerate(tables, 1):
        name = table.get("name")
        place = f"{path}, variant {number if not isinstance(name, str) else repr(name)}"
        _check_keys(table, _VARIANT_KEYS, place)
        if not isinstance(name, str) or not Variant(name, {}, Procedure()).folder:
            raise ValueError(f"{place}: name is {name!r}; words are needed")
        if not isinstance(own := table.get("data", data), str):
            raise ValueError(f"{place}: data is {own!r}; the folder of a data set is needed")
        trained_on = None if own == data else path.parent / own
        variants.append(replace(_changed(shared, table, place), name=name, data=trained_on))
        if variants[-1].folder in {v.folder for v in variants[:-1]}:
            raise ValueError(f"{place}: another variant is called so, too; each needs a name of its own")
    return Ablation(path.parent / data, judged, tuple(seeds), tuple(variants))


def _check_keys(table: Mapping[str, Any], known: Sequence[str], place: object) -> None:
    if unknown := sorted(table.keys() - set(known)):
        raise ValueError(f"{place}: unknown keys {unknown}; known are {sorted(known)}")
    for key in _CHANGES:
        if not isinstance(table.get(key, {}), dict):
            raise ValueError(f"{place}: {key} is {table[key]!r}; a table of settings is needed")


def _changed(variant: Variant, table: Mapping[str, Any], place: str) -> Variant:
    """A variant with the changes of a table, and the checks that need no data."""
    for key in ("train", *_KINDS):
        if "seed" in table.get(key, {}):
            raise ValueError(f"{place}, {key}: seed belongs to no variant; seeds = [...] trains each with all of them")
    settings: dict[Kind, TrainingSettings] = {}
    for kind in _KINDS:
        settings[kind] = variant.settings[kind]
        for key in ("train", kind):
            try:
                settings[kind] = with_changes(settings[kind], table.get(key, {}), f"{place}, {key}")
                with torch.device("meta"):  # weights that are not looked at need not be drawn
                    settings[kind].spec.build()  # a width too small shows itself here
            except (TypeError, ValueError) as error:
                raise ValueError(_at(f"{place}, {key}", error)) from error
    detection, identification = (settings[kind].spec for kind in _KINDS)
    if (detection.spacing_mm, detection.intensity) != (identification.spacing_mm, identification.intensity):
        raise ValueError(f"{place}: the networks differ in spacing_mm or intensity; set both under train")
    changes, place = table.get("predict", {}), f"{place}, predict"
    _check_keys(changes, [choice.name for choice in fields(Procedure)], place)
    try:
        procedure = replace(variant.procedure, **changes)
    except ValueError as error:
        raise ValueError(_at(place, error)) from error
    return Variant(variant.name, settings, procedure)


def _at(place: str, error: Exception) -> str:
    return str(error) if str(error).startswith(place) else f"{place}: {error}"


def run_ablation(
    ablation: Ablation,
    folder: Path,
    *,
    store: Path | None = None,
    team: Team = ALONE,
    watcher: Watcher | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Comparison]:
    """Train, predict and judge every variant, and write the table; go on where an earlier call stopped.

    Networks of the same settings, seed and scans are trained once, into ``trained/``, whoever uses them: a variant that
    changes one network shares the other, and one that changes the procedure alone shares both. Each variant's results
    and its evaluation page lie in ``variants/<name>/seed<n>/``. The table, ``ablation.csv``, ``ablation.json`` and
    ``ablation.md``, is written anew after each variant.

    Each network is trained by itself: where ``patience`` chooses an epoch, the truth stands in the other one's place.

    Args:
        ablation: what to compare.
        folder: for everything; made where it is missing.
        store: folder for the resampled scans; ``folder / "volumes"`` by default.
        team: the processes that share the training, all of which call this.
        watcher: is told how each training goes, in the leading process.
        say: is given a line on what is done, there too.

    Returns:
        The rows of the table, in the leading process.

    Raises:
        AnnotationError: ``E_SPLIT_OVERLAP``, ``E_NO_SCAN``: a patient in two splits, a split without scans; or
            centroids that cannot be used.
        ScanError: a scan that cannot be read.
        WeightsError: a network that cannot be loaded.
        OutputError: the folder cannot be written.
    """
    try:
        manifest = read_manifest(ablation.data)
    except AnnotationError as error:
        if error.code != "E_NO_MANIFEST":
            raise
        raise AnnotationError(
            error.code, f"data names no data set, a folder with a dataset.csv: {error.message}"
        ) from error
    manifest.check_split()
    if empty := [split for split in ("train", ablation.judged) if not manifest.of_split(split)]:
        raise AnnotationError(
            "E_NO_SCAN", f"{manifest.path} has no scan in split {', '.join(empty)}; an ablation trains and judges"
        )
    training = {variant.data: _training_split(variant.data, manifest) for variant in ablation.variants}
    make_folder(folder)
    work = _Work(
        ablation, manifest, training, folder, store or folder / "volumes", team, watcher, say if team.leads else _silent
    )
    contenders: list[Contender] = []
    rows: list[Comparison] = []
    for variant in ablation.variants:
        results = [work.result(variant, seed) for seed in ablation.seeds]
        if team.leads:
            runs = [
                read_cases(work.place(variant, seed) / "predictions", ablation.data, ablation.judged).cases
                for seed in ablation.seeds
            ]
            about = {key: _mean(result[key] for result in results) for key in ("dice", "label_error", "seconds")}
            contenders.append(Contender(variant.name, runs, ablation.seeds, **about))
            rows = compare(contenders)
            write_comparison(rows, folder, TABLE)
    return rows


def _training_split(data: Path | None, manifest: Manifest) -> list[Entry]:
    """What a variant is trained on: none of the patients that `manifest` validates and judges with."""
    if data is None:
        return manifest.of_split("train")
    entries = read_manifest(data).of_split("train")
    if not entries:
        raise AnnotationError("E_NO_SCAN", f"{data} has no scan in split train; a variant trains on it")
    held = {entry.patient for split in SPLITS[1:] for entry in manifest.of_split(split)}
    if shared := sorted(held & {entry.patient for entry in entries}):
        raise AnnotationError(
            "E_SPLIT_OVERLAP",
            f"{data}: trains on {', '.join(shared)}, held out by {manifest.path}; keep patients apart",
        )
    return entries


def _silent(line: str) -> None:
    pass


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


@dataclass(frozen=True)
class _Work:
    """The steps of a run, each of which knows whether it is done already."""

    ablation: Ablation
    manifest: Manifest
    training: Mapping[Path | None, list[Entry]]
    folder: Path
    store: Path
    team: Team
    watcher: Watcher | None
    say: Callable[[str], None]
    trained: set[Path] = field(default_factory=set)
    """Folders of the networks that are known to be finished."""

    def place(self, variant: Variant, seed: int) -> Path:
        """Where the results of a variant are."""
        return self.folder / "variants" / variant.folder / f"seed{seed}"

    def result(self, variant: Variant, seed: int) -> dict[str, Any]:
        """What is known of a variant beside its predictions, which lie in its place, too."""
        judged = self.manifest.of_split(self.ablation.judged)
        settings = {kind: replace(variant.settings[kind], seed=seed) for kind in _KINDS}
        place = self.place(variant, seed)
        trained = {
            kind: self.folder / "trained" / f"{kind}-{self._key(of, variant.data)}" for kind, of in settings.items()
        }
        key = _hash([*(t.name for t in trained.values()), asdict(variant.procedure), _identity(judged)])
        done = self.team.agree(self.team.leads and _result(place, key) is not None)
        if not done:
            for kind, where in trained.items():
                if where not in self.trained:
                    self.say(f"{variant.name}, seed {seed}: {kind} network, {where}")
                    train_model(
                        self.training[variant.data], self.manifest.of_split("validation"), {kind: settings[kind]},
                        where, store=self.store, team=self.team, watcher=self.watcher,
                    )  # fmt: skip
                    self.trained.add(where)
            if self.team.leads:
                self._predict(variant, trained, judged, place, key)
            self.team.wait()
        self.say(f"{variant.name}, seed {seed}: done, {place}")
        return _result(place, key) or {}

    def _key(self, settings: TrainingSettings, data: Path | None) -> str:
        """Of a training: changes with all that changes its weights."""
        # The processes that prepare crops do not, and a run may go on with another number of them.
        known = {k: v for k, v in asdict(settings).items() if k != "workers"}
        scans = [_identity(entries) for entries in (self.training[data], self.manifest.of_split("validation"))]
        return _hash([known, *scans])

    def _predict(
        self, variant: Variant, trained: Mapping[Kind, Path], judged: Sequence[Entry], place: Path, key: str
    ) -> None:
        self.say(f"{variant.name}: {len(judged)} scans to predict")
        for kind, where in trained.items():
            network, spec = load_network(kind, where)
            save_network(network, spec, place / "model", read_weights(where)["networks"][kind]["provenance"])
        model = load_model(place / "model", self.team.device)
        seconds = []
        scans = [entry.scan for entry in judged]
        for result, spine in predict_batch(
            scans, place / "predictions", model, procedure=variant.procedure, picture=False
        ):
            if spine is None:
                self.say(f"{variant.name}: {result.status}: {result.scan}: {result.message}")
            else:
                laps = spine.details["seconds"]
                assert isinstance(laps, dict)
                seconds.append(sum(laps.values()))
        found = read_cases(place / "predictions", self.ablation.data, self.ablation.judged)
        write_report(
            found.cases, place, title=variant.name, unpredicted=found.unpredicted, unannotated=found.unannotated
        )
        # Last: where this is, all else is.
        dice = _logged(trained["detection"], "detection", "dice")
        label_error = _logged(trained["identification"], "identification", "validation_loss")
        known = {"key": key, "seconds": _mean(seconds), "dice": dice, "label_error": label_error}
        write_bytes(place / "result.json", (json.dumps(known, indent=1) + "\n").encode())


def _logged(trained: Path, kind: Kind, column: str) -> float | None:
    """What the log of a training says of the network that was kept, on the validation crops."""
    epoch = read_weights(trained)["networks"][kind]["provenance"]["epochs"]
    with (trained / LOG.format(kind)).open(newline="") as file:
        value = next(float(row[column]) for row in csv.DictReader(file) if int(row["epoch"]) == epoch)
    return None if math.isnan(value) else value


def _result(place: Path, key: str) -> dict[str, Any] | None:
    """What an earlier run left, if it did the same."""
    try:
        known = json.loads((place / "result.json").read_text())
    except (OSError, ValueError):
        return None
    return known if known.get("key") == key else None


def _identity(entries: Sequence[Entry]) -> list[list[str]]:
    """What tells scans and their annotation from others: names, sizes, patients, and the centroids to the letter."""

    def of(entry: Entry) -> Iterator[str]:
        yield from (*entry.scan.parts[-2:], entry.patient)
        for file in sorted(entry.scan.iterdir()) if entry.scan.is_dir() else [entry.scan]:
            yield str(file.stat().st_size)
        yield sha256(entry.centroids.read_bytes()).hexdigest()

    try:
        return [list(of(entry)) for entry in entries]
    except OSError as error:
        raise AnnotationError("E_UNREADABLE", f"{error.filename}: {error.strerror}; mend the manifest") from error


def _hash(content: Any) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
