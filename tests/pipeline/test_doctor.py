"""Each check of the doctor, on machines that are made up."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from clsgen.config.model import ModelSettings
from clsgen.pipeline import doctor
from clsgen.pipeline.doctor import check_backbone, check_cuda_packages, check_machine, check_packages
from clsgen.pipeline.machine import has_gpu, installed_versions

GIB = 2**30


def test_python_must_be_new_enough() -> None:
    assert doctor.check_python((3, 11, 0)).status == "ok"
    check = doctor.check_python((3, 10, 9))
    assert (check.status, check.message) == ("fail", "Python 3.10.9; >=3.11 is needed")


def test_packages_are_held_against_their_ranges() -> None:
    requirements = ["torch>=2.6", "transformers<6,>=5.0", "PyYAML>=6.0", "scipy", 'ruff; extra == "dev"']
    installed = {"torch": "2.6.0+cpu", "transformers": "5.1.0", "pyyaml": "6.0.3", "scipy": "1.0"}
    check = check_packages(installed, requirements)
    assert (check.status, check.message) == ("ok", "4 required packages in range")
    check = check_packages({"torch": "2.5.1", "transformers": "6.0.0", "pyyaml": "6.0.3"}, requirements)
    assert check.status == "fail"
    assert check.message == ("torch 2.5.1 (>=2.6 is needed); transformers 6.0.0 (<6,>=5.0 is needed); scipy is missing")
    assert "pip install -c constraints.txt" in check.fix


def test_cuda_packages_without_a_gpu_are_reported_with_the_way_out() -> None:
    installed = {"torch": "2.13.0", "nvidia-cublas-cu12": "12.8", "triton": "3.5", "numpy": "2.4"}
    check = check_cuda_packages(installed, has_gpu=False)
    assert check.status == "warn"
    assert check.message.startswith("2 CUDA packages (nvidia-cublas-cu12, ...) on a machine without a GPU")
    assert check.fix == (
        "pip uninstall -y torch nvidia-cublas-cu12 triton && "
        "pip install -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch==2.13.0"
    )
    assert check_cuda_packages(installed, has_gpu=True).status == "ok"
    assert check_cuda_packages({"torch": "2.13.0+cpu"}, has_gpu=False).status == "ok"


def test_this_environment_has_no_cuda_packages_without_a_gpu() -> None:
    check = check_cuda_packages(installed_versions(), has_gpu=has_gpu())
    assert check.status == "ok", f"{check.message}: {check.fix}"


def test_torch_that_cannot_be_imported_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_torch().status == "ok"
    monkeypatch.setitem(sys.modules, "torch", None)
    for check in (doctor.check_torch(), doctor.check_bfloat16()):
        assert check.status == "fail"
        assert "can't be imported" in check.message


def test_torch_that_does_not_see_the_gpu_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    monkeypatch.setattr(doctor, "device_name", lambda: "cpu")
    check = doctor.check_torch()
    assert check.status == "warn"
    assert "doesn't see the GPU" in check.message


@pytest.mark.parametrize(("is_fast", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_says_what_auto_chooses(monkeypatch: pytest.MonkeyPatch, is_fast: bool, precision: str) -> None:
    monkeypatch.setattr("clsgen.model.products.is_fast_bfloat16", lambda device: is_fast)
    check = doctor.check_bfloat16()
    assert check.status == "ok"
    assert check.message.endswith(f"precision auto is {precision}")


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (doctor.check_disk(5 * GIB), "ok"),
        (doctor.check_disk(5 * GIB - 1), "warn"),
        (doctor.check_disk(GIB // 4), "fail"),
        (doctor.check_memory(4 * GIB), "ok"),
        (doctor.check_memory(4 * GIB - 1), "warn"),
        (doctor.check_memory(None), "warn"),
        (doctor.check_cores(2), "ok"),
        (doctor.check_cores(1), "warn"),
    ],
)
def test_resources_have_their_bounds(check: doctor.Check, status: str) -> None:
    assert check.status == status
    assert bool(check.fix) == (status != "ok")


def test_write_access(tmp_path: Path) -> None:
    assert doctor.check_writable(tmp_path).status == "ok"
    assert list(tmp_path.iterdir()) == []
    check = doctor.check_writable(tmp_path / "absent")
    assert (check.status, check.message) == ("fail", "this directory can't be written: No such file or directory")


def test_a_backbone_directory_must_hold_config_and_weights(tmp_path: Path) -> None:
    def check() -> doctor.Check:
        return check_backbone(ModelSettings(backbone=str(tmp_path)))

    assert check().message.endswith("has no config.json and no weights (model*.safetensors)")
    (tmp_path / "config.json").write_text("{}")
    assert (check().status, check().message.endswith("has no weights (model*.safetensors)")) == ("fail", True)
    (tmp_path / "model-00001-of-00002.safetensors").write_text("")
    assert check().status == "ok"


@pytest.mark.parametrize("name", ["./absent", "/absent/model", "models/absent/base", "~/base"])
def test_a_path_that_is_not_there_fails(name: str) -> None:
    check = check_backbone(ModelSettings(backbone=name))
    assert (check.status, check.message) == ("fail", f"no directory {name}")


def test_a_hub_id_is_looked_up_in_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise AssertionError("doctor called the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    settings = ModelSettings(backbone="org/tiny")
    check = check_backbone(settings)
    assert check.status == "warn"
    assert "hf download org/tiny" in check.fix
    assert "licence" in check.fix
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert check_backbone(settings).status == "fail"

    snapshot = tmp_path / "models--org--tiny" / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("c" * 40)
    (snapshot / "config.json").write_text("{}")
    assert check_backbone(settings).status == "fail"
    (snapshot / "model.safetensors").write_text("")
    assert check_backbone(settings).status == "ok"


def test_a_name_that_is_no_hub_id_fails() -> None:
    check = check_backbone(ModelSettings(backbone="not a name"))
    assert (check.status, check.message) == ("fail", "'not a name' is no directory and no hub id")


def test_a_scratch_model_needs_no_backbone() -> None:
    assert check_backbone(ModelSettings(init="scratch")).status == "ok"


def test_every_check_of_this_machine_runs(tmp_path: Path) -> None:
    checks = check_machine(tmp_path)
    assert [check.name for check in checks] == [
        "python",
        "packages",
        "CUDA packages",
        "torch",
        "bfloat16",
        "disk",
        "memory",
        "cores",
        "write access",
    ]
    assert {check.name: check.message for check in checks if check.status == "fail"} == {}
