"""Where a problem lies: settings by location. What is said of problems is shown in test_load.py."""

from __future__ import annotations

import pytest

from clsgen.config import problems


def test_a_location_within_a_setting_is_that_setting() -> None:
    assert problems._setting_at(("data", "columns", "text", 0)).path == "data.columns.text"


def test_a_location_outside_the_settings_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="a location outside the settings: "):
        problems._setting_at(("nothing", 3))
