# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from spinefinder_fast import Grid, Spine, Vertebra


def test_vertebrae_come_in_cranio_caudal_order():
    names = ["S1", "L6", "T13", "L1", "C2", "T2", "T12", "T10"]
    spine = Spine(tuple(Vertebra(n, (0.0, 0.0, 0.0)) for n in names))
    assert spine.names == ["C2", "T2", "T10", "T12", "T13", "L1", "L6", "S1"]


def test_lookup_by_name():
    spine = Spine((Vertebra("L1", (1.0, 2.0, 3.0)),))
    assert "L1" in spine
    assert "L2" not in spine
    assert spine["L1"].label == 20
    with pytest.raises(KeyError):
        _ = spine["L2"]


def test_each_name_once():
    with pytest.raises(ValueError, match="once"):
        Spine((Vertebra("L1", (0.0, 0.0, 0.0)), Vertebra("L1", (1.0, 0.0, 0.0))))


def test_voxels_are_those_of_the_file():
    grid = Grid(np.array((9, 9, 9)), np.array([[0, 0, 2.0, 1], [-1, 0, 0, 5], [0, 3, 0, 0], [0, 0, 0, 1]]))
    spine = Spine((Vertebra("T1", tuple(grid.to_lps([1, 2, 3]))),), grid)
    assert spine.voxels() == pytest.approx(np.array([[1, 2, 3]]))
    with pytest.raises(ValueError, match="no grid"):
        Spine(spine.vertebrae).voxels()


def test_an_empty_spine_has_empty_arrays():
    assert Spine(()).lps().shape == (0, 3)
    assert len(Spine(())) == 0
