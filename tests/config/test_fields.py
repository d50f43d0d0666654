"""The settings as errors, files and docs see them."""

from __future__ import annotations

import annotated_types
import pytest

from clsgen.config import fields
from clsgen.config.fields import leaves, settings


def test_every_setting_has_a_meaning_and_a_rule() -> None:
    assert len(leaves()) > 50
    for setting in settings().values():
        assert setting.description.endswith((".", ")")), setting.path
        assert setting.rule, setting.path


def test_rules_say_kind_bounds_and_null() -> None:
    rules = {path: setting.rule for path, setting in settings().items()}
    assert rules["train.learning_rate"] == "a number above 0"
    assert rules["train.warmup"] == "a number of at least 0 and below 1"
    assert rules["predict.uncertain_margin"] == "a number above 0 and of at most 0.5"
    assert rules["model.scratch.width"] == "a whole number of at least 32 and that is a multiple of 16"
    assert rules["train.max_steps"] == "a whole number of at least 1, or null"
    assert rules["train.class_weights"] == "one of none, balanced or a list of numbers"
    assert rules["data.columns.text"] == "a list of texts with at least 1"
    assert rules["data.restricted"] == "true or false"
    assert rules["data.split"] == "a mapping of settings"


def test_paths_know_their_section() -> None:
    fold = settings()["data.split.fold"]
    assert (fold.parent, fold.name, fold.is_section, fold.default) == ("data.split", "fold", False, 0)
    assert settings()["output"].parent == ""


def test_a_bound_without_words_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="a bound without words: Timezone"):
        fields._bound_words(annotated_types.Timezone(None))
