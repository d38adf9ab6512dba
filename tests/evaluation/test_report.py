# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from spinefinder_fast import anatomy, make_phantom
from spinefinder_fast.evaluation import Case, write_report
from spinefinder_fast.evaluation.figures import judged, ladders, three_scans
from spinefinder_fast.evaluation.strata import UNKNOWN, Traits, traits_of
from spinefinder_fast.geometry import Grid
from spinefinder_fast.scan import Scan, write_nifti
from spinefinder_fast.spine import Spine, Vertebra


def spine(**heights: float) -> Spine:
    return Spine(tuple(Vertebra(name, (0.0, 0.0, float(z))) for name, z in heights.items()))


class Page(HTMLParser):
    """What a browser would load, the text, and whether every tag is closed."""

    VOID = ("meta", "img", "br", "use", "path", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A scan that went well, one with everything wrong, one without prediction; the first two are at hand."""
    folder = tmp_path_factory.mktemp("scans")
    phantom = make_phantom("L1", "L3", spacing_mm=6.0, fov_mm=(90, 90))
    for name in ("good", "bad"):
        write_nifti(folder / f"{name}.nii.gz", phantom.array, phantom.grid)
    truth = phantom.spine
    shifted = {"T12": "L1", "L1": "L2", "L2": "L3"}
    wrong = [Vertebra(name, truth[of].lps) for name, of in shifted.items()]
    far = Vertebra("C2", (0.0, 0.0, 900.0))
    return [
        Case("good", truth, truth, folder / "good.nii.gz", "p1"),
        Case("bad <i>&", Spine((*wrong, far), details={"weights": "abc+def"}), truth, folder / "bad.nii.gz", "p2"),
        Case("none", Spine(()), truth, None, "p3"),
    ]


@pytest.fixture(scope="module")
def written(cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = write_report(cases, folder, title="Judged", unpredicted=["none"], unannotated=["stray"])
    assert path == folder / "evaluation.html"
    return folder


def test_the_page_loads_nothing_and_hides_nothing(written, cases):
    text = (written / "evaluation.html").read_text()
    page = Page(text)
    assert page.open == []
    assert all(url.startswith(("data:image/png;base64,", "#")) for url in page.loads)
    assert "<script" not in text
    assert not re.search(r"url\((?!#)", text)
    shown = re.sub(r"\s+", " ", "".join(page.text))
    assert "33.3 %" in shown  # 3 of 9
    assert "3 of 9" in shown
    assert "shifted by one level" in shown
    for said in ("bad <i>&", "none", "stray", "abc+def", "no prediction", "L1 as T12", "C2", "3 scans of 3 patients"):
        assert said in shown, said
    assert "missed L1, L2, L3" in shown
    # The two scans at hand, best and worst, and what they show for those who do not see them.
    assert [re.sub(" :.*|:.*", "", str(image["alt"])) for image in page.images] == ["good", "bad <i>&"]
    # The plot takes the colours of the page.
    assert "var(--accent)" in text
    assert "#070809" not in text


def test_the_files_say_the_same(written):
    document = json.loads((written / "evaluation.json").read_text())
    overall = document["mccouat"][0]
    assert (overall["annotated"], overall["identified"], overall["missing"], overall["extra"]) == (9, 3, 4, 2)
    # Of "bad" T12, L1, L2 and C2 were predicted: L1 and L2 are annotated, so L3 is missing; "none" misses three.
    assert document["verse"]["id_rate"] == pytest.approx(1 / 3)
    whole = document["whole_scans"]
    assert (whole["all_right"], whole["shifted_by_one"], whole["one_level_off"], whole["found"]) == (1, 1, 3, 6)
    assert document["weights"] == ["abc+def"]
    assert [case["scan"] for case in document["cases"]] == ["bad <i>&", "none", "good"]
    assert {row["stratum"]: row["scans"] for row in document["strata"] if row["kind"] == "metal"} == {
        "no metal": 2,
        "unknown": 1,
    }
    with (written / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["region"] for row in rows] == ["All", "Cervical", "Thoracic", "Lumbar"]
    assert (rows[0]["id_rate_low"], rows[1]["id_rate"]) != ("", "")
    with (written / "vertebrae.csv").open(newline="") as file:
        fates = [row["fate"] for row in csv.DictReader(file)]
    assert {fate: fates.count(fate) for fate in set(fates)} == {
        "identified": 3,
        "misnamed": 3,
        "missed": 3,
        "extra": 2,
    }


def test_a_report_of_nothing_much(tmp_path):
    page = Page(write_report([Case("a", Spine(()), Spine(()))], tmp_path).read_text())
    assert page.open == []
    assert "No scan was at hand" in "".join(page.text)


def test_a_scan_that_cannot_be_read_costs_its_picture_alone(tmp_path, capsys):
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    case = Case("broken", spine(L1=0), spine(L1=0), tmp_path / "broken.nii.gz")
    assert "No scan was at hand" in write_report([case], tmp_path).read_text()
    assert "broken is evaluated without its scan" in capsys.readouterr().err


def test_the_worst_scan_is_among_the_three():
    def case(name, right):
        truth = spine(L1=0, L2=-35, L3=-70, L4=-105)
        return Case(name, Spine(tuple(v for v in truth if v.name in right)), truth, Path(name))

    a, b, c, d = case("a", "L1 L2"), case("b", "L1"), case("c", "L1 L2 L3 L4"), case("d", "L1 L2 L3")
    assert [(w, k.name) for w, k in three_scans([a, b, c, d])] == [("best", "c"), ("middle", "d"), ("worst", "b")]
    assert [(w, k.name) for w, k in three_scans([a, b])] == [("best", "a"), ("worst", "b")]
    assert [k.name for _, k in three_scans([a, Case("e", Spine(()), spine(L1=0))])] == ["a"]


@pytest.mark.parametrize(
    ("traits", "strata"),
    [
        (Traits(150.0, 1.25, 299.0), ("up to 150 mm", "up to 1.25 mm", "no metal")),
        (Traits(151.0, 1.26, 300.0), ("150 to 300 mm", "1.25 to 2.5 mm", "metal")),
        (Traits(450.0, 2.5000001, 0.0), ("300 to 450 mm", "1.25 to 2.5 mm", "no metal")),
        (Traits(451.0, 3.0, None), ("over 450 mm", "over 2.5 mm", UNKNOWN)),
        (Traits(), (UNKNOWN,) * 3),
    ],
)
def test_strata(traits, strata):
    assert tuple(traits.strata().values()) == strata


def test_traits_of_a_scan():
    grid = Grid.from_spacing((80, 40, 30), (2.0, 2.0, 5.0))
    array = np.zeros(grid.shape, np.int16)
    array[38:40, 18:20, 14:16] = 3000  # 8 voxels of 20 mm3 at the vertebra
    array[:18, 0, :] = 3000  # more than 40 mm to its right
    case = Case("a", Spine(()), Spine((Vertebra("L1", (78.0, 38.0, 72.0)),), grid))
    traits = traits_of(case, Scan(array, grid, grid, "a", Path("a")))
    assert (traits.length_mm, traits.slice_mm) == (150.0, 5.0)
    assert traits.metal_mm3 == pytest.approx(160.0)
    # Without the scan the grid of the truth tells the rest.
    assert traits_of(case, None) == Traits(150.0, 5.0, None)


def test_a_shifted_name_is_wrong_and_one_beyond_the_annotated_extra():
    case = Case("a", spine(T12=90, L2=60, L3=30, L4=0), spine(L1=60, L2=30, L3=0))
    assert [judged(case, n) for n in ("T12", "L2", "L3", "L4")] == ["extra", "wrong", "wrong", "wrong"]
    right = Case("b", spine(L1=61, L2=30, L4=-60), spine(L1=60, L2=30, L3=0))
    assert [judged(right, n) for n in ("L1", "L2", "L4")] == ["right", "right", "extra"]


def test_ladders_have_a_place_for_every_scan():
    right = Case("right", spine(L1=60, L2=30), spine(L1=60, L2=30))
    shifted = Case("shifted", spine(L2=60, L3=30), spine(L1=60, L2=30))
    nothing = Case("nothing", Spine(()), spine(L1=60))
    sizes = []
    tall = Case("tall", spine(**{name: -30 * i for i, name in enumerate(anatomy.NAMES)}), spine(L1=60, L2=30))
    for cases in ([], [right], [right, tall, shifted, nothing], [right] * 7):
        data = ladders(cases)
        assert data.startswith(b"\x89PNG")
        sizes.append(tuple(int.from_bytes(data[k : k + 4], "big") for k in (16, 20)))
    one, three, seven = sizes[1:]
    assert three[0] > 2 * one[0]
    assert seven[1] > 1.5 * three[1]
