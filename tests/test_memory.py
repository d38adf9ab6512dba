# SPDX-License-Identifier: Apache-2.0
import pytest

from spinefinder_fast import memory


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Write what the system says of itself, in MB."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")

    def say(available=None, limit=None, used=0, cached=0):
        if available is not None:
            (tmp_path / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable:   {available * 1024} kB\n")
        if limit is not None:
            (tmp_path / "cgroup").mkdir()
            (tmp_path / "cgroup" / "memory.max").write_text(f"{limit if limit == 'max' else limit << 20}\n")
            (tmp_path / "cgroup" / "memory.current").write_text(f"{used << 20}\n")
            (tmp_path / "cgroup" / "memory.stat").write_text(f"anon 1\ninactive_file {cached << 20}\n")

    return say


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, None),
        ({"available": 500}, 500),
        ({"available": 500, "limit": "max"}, 500),
        ({"available": 500, "limit": 400, "used": 300, "cached": 50}, 150),
        ({"available": 100, "limit": 400, "used": 50}, 100),
        ({"limit": 400, "used": 450}, 0),
    ],
)
def test_the_tighter_limit_counts(machine, said, expected):
    machine(**said)
    found = memory.free_bytes("cpu")
    assert found == (None if expected is None else expected << 20)


def test_this_machine_has_some():
    free = memory.free_bytes("cpu")
    assert free is None or free > 10_000_000
