# SPDX-License-Identifier: Apache-2.0
"""The weights that the package ships."""

from dataclasses import replace

import numpy as np

from spinefinder_fast import locate, make_phantom
from spinefinder_fast.networks.weights import DEFAULT_FOLDER, read_manifest
from spinefinder_fast.procedure import FAITHFUL
from spinefinder_fast.scan import Scan


def test_the_manifest_says_what_they_were_trained_on_and_what_they_never_saw():
    networks = read_manifest()["networks"]
    assert set(networks) == {"coarse", "detection", "identification"}
    for network in networks.values():
        provenance = network["provenance"]
        assert any("CC BY" in source for source in provenance["trained_on"])
        assert isinstance(provenance["never_seen"], list)
        assert provenance["settings"]["kind"] == network["kind"]


def test_they_are_small_enough_for_a_wheel():
    assert sum(file.stat().st_size for file in DEFAULT_FOLDER.iterdir()) < 20_000_000


def test_they_find_and_name_the_vertebrae_of_a_phantom():
    # A person that no training drew: those come from seeds of two numbers.
    phantom = make_phantom("T11", "L4", spacing_mm=2.0, seed=105, fov_mm=(130, 130))
    spine = locate(Scan(phantom.array, phantom.grid, phantom.grid, "phantom", None))
    assert set(phantom.spine.names) <= set(spine.names)
    errors = [np.linalg.norm(np.subtract(spine[v.name].lps, v.lps)) for v in phantom.spine]
    assert np.mean(errors) < 8
    assert np.max(errors) < 20


def test_with_them_the_fast_way_says_what_the_paper_s_says():
    phantom = make_phantom("T11", "L3", spacing_mm=2.0, seed=104, fov_mm=(150, 150))
    scan = Scan(phantom.array, phantom.grid, phantom.grid, "phantom", None)
    fast, faithful = locate(scan), locate(scan, procedure=replace(FAITHFUL, decode="order"))
    assert fast.names == faithful.names
    apart = np.linalg.norm(fast.lps() - faithful.lps(), axis=1)
    assert np.median(apart) < 0.5
    assert apart.max() < 3
