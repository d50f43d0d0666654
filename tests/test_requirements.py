"""pyproject.toml, constraints.txt and Makefile name the same versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINS = {
    canonicalize_name(pin.name): next(iter(pin.specifier)).version
    for pin in map(Requirement, (ROOT / "constraints.txt").read_text(encoding="utf-8").split())
}


def test_every_base_and_dev_requirement_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert len(requirements) > 20
    for requirement in map(Requirement, requirements):
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)]), requirement


def test_the_makefile_installs_the_pinned_torch() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"torch==([\d.]+)", makefile) == [PINS["torch"]]


def test_the_pins_carry_no_cuda() -> None:
    assert not [name for name in PINS if name.startswith("nvidia-") or name == "triton"]
