# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import torch
from stubs import TrueIdentification, labelled_scan, true_model

from spinefinder_fast import Spine, make_phantom
from spinefinder_fast.dataset.layouts import find_entries
from spinefinder_fast.report import write_verse_json
from spinefinder_fast.scan import write_nifti
from spinefinder_fast.training.offsets import Offsets, summary


class Low(torch.nn.Module):
    """Counts most of a level too many, everywhere."""

    def forward(self, x):
        label = TrueIdentification()(x)
        return torch.where(label > 0, label + 0.75, label)


def entry(tmp_path, hidden=()):
    phantom = make_phantom("T10", "L3", spacing_mm=2.0, seed=3, fov_mm=(90, 90))
    shown = Spine(tuple(v for v in phantom.spine if v.name not in hidden), phantom.grid)
    (tmp_path / "a").mkdir()
    array = labelled_scan(shown, phantom.grid).array
    array[0, 0, 0] = -1000  # or a scan without any vertebra would be refused as constant
    write_nifti(tmp_path / "a" / "a_ct.nii.gz", array, phantom.grid)
    write_verse_json(tmp_path / "a" / "a_ctd.json", phantom.spine)
    (found,) = find_entries(tmp_path).entries
    return found


def test_what_all_labels_of_a_scan_share_is_told_from_what_each_is_off(tmp_path):
    scan = entry(tmp_path)
    right = Offsets.of(scan, true_model(2.0))
    low = Offsets.of(scan, replace(true_model(2.0), identification=Low()))
    assert len(right.off) == len(low.off) == 6
    assert abs(right.shared) < 0.1
    assert abs(low.shared - 0.75) < 0.1
    assert right.ends == ("T10", "T11", "L2", "L3")
    assert right.missed == low.missed == ()
    text = summary([right, low])
    assert "2 scans, 12 bodies" in text
    assert "within 0.5 in 50.0% of the scans" in text


def test_an_end_that_is_missed_is_counted(tmp_path):
    found = Offsets.of(entry(tmp_path, hidden=("T10", "L1")), true_model(2.0))
    assert found.missed == ("T10",)
    assert "T10 1/1, T11 0/1" in summary([found])


def test_a_scan_in_which_nothing_is_found_misses_both_ends(tmp_path):
    found = Offsets.of(entry(tmp_path, hidden=("T10", "T11", "T12", "L1", "L2", "L3")), true_model(2.0))
    assert found.missed == found.ends
    assert np.isnan(found.shared)
