"""Facts of the machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from clsgen.pipeline import machine


def test_the_environment_is_plain_json_without_names_or_paths() -> None:
    facts = machine.environment()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["python"] == platform.python_version()
    assert facts["packages"]["torch"] == version("torch")
    assert platform.node() not in json.dumps(facts)
    assert str(Path.home()) not in json.dumps(facts)


def test_cores_are_those_of_this_process() -> None:
    assert machine.num_cores() == len(os.sched_getaffinity(0))


def test_cores_where_the_system_has_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(machine.os, "sched_getaffinity")
    assert machine.num_cores() == os.cpu_count()


def test_memory_is_the_lower_of_machine_and_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_CGROUP_LIMIT", limit)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.memory_bytes() == total
    limit.write_text("max\n")
    assert machine.memory_bytes() == total
    limit.write_text("1000000\n")
    assert machine.memory_bytes() == 1_000_000


def test_memory_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(machine.os, "sysconf")
    assert machine.memory_bytes() is None


def test_the_device_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert machine.device_name() == "torch missing"


def test_a_gpu_is_seen_by_its_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.has_gpu()


def test_installed_versions_have_canonical_names() -> None:
    assert machine.installed_versions()["huggingface-hub"] == version("huggingface_hub")
