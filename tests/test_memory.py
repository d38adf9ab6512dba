# SPDX-License-Identifier: Apache-2.0
import pytest

from spinefinder_fast import memory


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Write what the system says of itself, in MB."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_OWN_GROUP", tmp_path / "own")

    def say(available=None, limit=None, used=0, cached=0, group=""):
        if available is not None:
            (tmp_path / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable:   {available * 1024} kB\n")
        (tmp_path / "own").write_text("3:cpuset:/x\n0::/job/step\n")
        folder = tmp_path / "cgroup" / group
        if limit is not None:
            folder.mkdir(parents=True)
            (folder / "memory.max").write_text(f"{limit if limit == 'max' else limit << 20}\n")
            (folder / "memory.current").write_text(f"{used << 20}\n")
            (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached << 20}\n")

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
        ({"available": 500, "limit": 400, "used": 100, "group": "job"}, 300),
        ({"available": 500, "limit": 400, "used": 100, "group": "job/step"}, 300),
        ({"available": 500, "limit": 400, "used": 100, "group": "another"}, 500),
    ],
)
def test_the_tighter_limit_counts(machine, said, expected):
    machine(**said)
    found = memory.free_bytes("cpu")
    assert found == (None if expected is None else expected << 20)


def test_a_gpu_may_use_what_torch_holds_unused(monkeypatch):
    monkeypatch.setattr(memory.torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(memory.torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(memory.torch.cuda, "memory_allocated", lambda device: 200)
    assert memory.free_bytes("cuda:1") == 1300


def test_this_machine_has_some():
    free = memory.free_bytes("cpu")
    assert free is None or free > 10_000_000
