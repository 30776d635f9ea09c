"""Games by name, games of installed packages, and what is missing to play one."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from hubwright.environments.text import pool, registry
from hubwright.environments.text.interface import TextGame
from hubwright.hub_sync.errors import UsageError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taxy", "no game is called 'taxy'; did you mean 'taxi'?"),
        ("scienceword/boil", "no game is called 'scienceword/boil'; did you mean 'scienceworld'?"),
        ("", "no game is called ''; known: taxi, frozen_lake, cliff_walking, "),
        (None, "a game's name is text, not None"),
        ("taxi/v3", "game taxi/v3: there is no 'v3' of it; write taxi"),
    ],
)
def test_open_game_unknown_name_is_refused_with_a_suggestion(name, message):
    with pytest.raises(UsageError) as error:
        registry.open_game(name)
    assert str(error.value).startswith(message)


def test_versions_names_the_distribution_that_decides():
    assert registry.versions("taxi") == {"gymnasium": version("gymnasium"), "hubwright": version("hubwright")}


def test_families_game_of_an_installed_package_is_found(odd):
    found, variant = registry.game_class("odd/any")
    assert issubclass(found, TextGame) and found.name == "odd" and variant == "any"
    assert registry.versions("odd") == {"hubwright": version("hubwright")}


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        (
            "taxi",
            "odd_games:Odd",
            "entry point odd_games:Odd of hubwright.environments: 'taxi' is the name of another",
        ),
        ("odd", "odd_games:OddOptions", "game odd: odd_games:OddOptions of hubwright.environments is not a subclass"),
        ("odd", "odd_games:Nothing", "game odd: odd_games:Nothing of hubwright.environments cannot be loaded: module"),
        ("odd", "no_such_module:Odd", "game odd: no_such_module:Odd of hubwright.environments cannot be loaded: No"),
    ],
)
def test_families_bad_entry_point_is_refused(offer, name, target, message):
    offer(name, target)
    with pytest.raises(UsageError) as error:
        registry.game_class(name)
    assert str(error.value).startswith(message)


@pytest.fixture
def no_process(monkeypatch):
    monkeypatch.setattr(pool.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))


def test_check_game_without_java_names_the_remedy_before_any_process(no_process, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    for name in ("textworld_express/coin", "scienceworld"):
        with pytest.raises(UsageError, match=r"no 'java' on the PATH; .*apt-get install default-jre-headless\)$"):
            pool.GamePool(name)


@pytest.mark.parametrize(
    ("name", "module", "remedy"),
    [
        ("babyai/GoToLocal", "minigrid", "pip install --no-deps minigrid"),
        ("textworld/simple", "textworld", "pip install textworld (it needs jericho, which is GPL)"),
        ("scienceworld/boil", "scienceworld", "pip install 'hubwright[games]'"),
    ],
)
def test_check_game_without_its_package_names_the_command(no_process, monkeypatch, name, module, remedy):
    from hubwright.environments.text import interface

    monkeypatch.setattr(interface, "find_spec", lambda asked: None if asked == module else object())
    with pytest.raises(UsageError) as error:
        pool.GamePool(name)
    assert str(error.value) == f"game {name.partition('/')[0]}: {module} is not installed: {remedy}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 0}, "game taxi: workers 0 is not a whole number of at least 1"),
        ({"workers": True}, "game taxi: workers True is not"),
        ({"workers": 2.0}, "game taxi: workers 2.0 is not"),
        ({"step_seconds": 0}, "game taxi: step_seconds 0 is not a number above 0"),
        ({"reset_seconds": "60"}, "game taxi: reset_seconds '60' is not a number above 0"),
        ({"reset_seconds": float("nan")}, "game taxi: reset_seconds nan is not a number above 0"),
        ({"options": {"fast": True}}, "game taxi: unknown parameter 'fast'"),
    ],
)
def test_pool_wrong_arguments_are_refused_before_any_process(no_process, arguments, message):
    with pytest.raises(UsageError) as error:
        pool.GamePool("taxi", **arguments)
    assert str(error.value).startswith(message)
