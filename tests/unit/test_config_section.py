"""Sections of the config: compared by their values, shown without what is secret, made of keys by name."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from reconciler.config import LogSettings, NotifySettings, Secret, Settings
from tests import building


def test_settings_that_say_the_same_are_the_same() -> None:
    """A reload looks at that: read again, a config that nobody changed is as it was."""
    assert building.settings() is not building.settings()
    assert building.settings() == building.settings()
    assert hash(building.settings()) == hash(building.settings())


@pytest.mark.parametrize("section", [room.name for room in fields(Settings)])
def test_a_change_in_any_section_makes_another_config(section: str) -> None:
    """Whatever the key."""
    settings = building.settings()
    old = getattr(settings, section)
    for key in fields(old):
        value = getattr(old, key.name)
        other = Secret("another") if isinstance(value, Secret) else ("another", value)
        assert settings != replace(settings, **{section: replace(old, **{key.name: other})}), key.name


def test_sections_of_two_kinds_are_never_the_same() -> None:
    """Nor is anything else."""
    others: list[object] = [NotifySettings(), ("INFO", False), None]
    assert LogSettings() not in others


def test_a_section_shows_its_keys_but_for_what_may_hold_one() -> None:
    """As a dataclass does."""
    assert repr(LogSettings(json=True)) == "LogSettings(level='INFO', json=True)"
    assert repr(NotifySettings(url="https://hooks.example.com/key")) == (
        "NotifySettings(command=(), stale_after_minutes=60)"
    )


def test_keys_are_given_by_name_and_there_are_no_others() -> None:
    """A mistake in a test, or in `loading`, is no new key."""
    with pytest.raises(TypeError):
        LogSettings("INFO")  # type: ignore[call-arg]  # on purpose
    with pytest.raises(AttributeError):
        LogSettings().colour = "red"  # type: ignore[attr-defined]  # on purpose
