# SPDX-License-Identifier: Apache-2.0
"""What is free, as the system tells it."""

import os

import pytest

from panoptic_gs import InputError, memory


def test_what_is_free_is_a_part_of_the_machine():
    free = memory.available()
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def system(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal:       8000000 kB\nMemAvailable:       3072 kB\n")
    return tmp_path


def test_a_container_may_have_less_than_its_machine(system):
    assert memory.available() == 3 * 2**20
    (system / "memory.max").write_text("max\n")
    (system / "memory.current").write_text("1\n")
    assert memory.available() == 3 * 2**20
    (system / "memory.max").write_text(f"{4 * 2**20}\n")
    (system / "memory.current").write_text(f"{3 * 2**20}\n")
    (system / "memory.stat").write_text(f"anon 1\ninactive_file {2**19}\n")
    assert memory.available() == 1.5 * 2**20
    (system / "memory.current").write_text(f"{5 * 2**20}\n")
    assert memory.available() == 0


def test_where_nothing_is_known_nothing_is_refused(system):
    (system / "meminfo").write_text("")
    assert memory.available() is None
    memory.require("here", "7 Gaussians", 1e18)


def test_what_does_not_fit_is_refused_with_both_figures(system):
    memory.require("here", "7 Gaussians", 3 * 2**20)
    with pytest.raises(InputError) as error:
        memory.require("splats.ply", "7 Gaussians", 2.5 * 2**30)
    assert "splats.ply" in str(error.value)
    assert "7 Gaussians, which take about 2.5 GiB" in error.value.found
