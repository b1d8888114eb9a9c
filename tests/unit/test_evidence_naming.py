"""The naming convention: a file that is called after a test belongs to it."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from reconciler.evidence import Naming, slug


def matched(paths: list[str], *names: str) -> dict[str, list[str]]:
    """Match and answer with names in place of ids."""
    found = Naming(paths).match(lambda: enumerate(names))
    return {path: [names[test_id] for test_id in ids] for path, ids in found.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Login \u203a fails (TC12)", "login-fails-tc12"),
        ("test_pay[chromium-1.5]", "test-pay-chromium-1-5"),
        ("__Größe__", "größe"),
        ("gro\u0308ße", "größe"),
        ("日本 語", "日本-語"),
        ("…", ""),
        ("", ""),
        ("a" * 2_000, "a" * 1_000),
        ("ab " * 2_000, ("ab-" * 333 + "a")),
    ],
)
def test_a_slug_is_words_of_letters_and_digits(text: str, expected: str) -> None:
    """In lower case, of any script."""
    assert slug(text) == expected


@pytest.mark.parametrize(
    "path",
    [
        "login-fails.png",
        "shots/Login Fails.PNG",
        "shots/login_fails-1.png",
        "test-results/checkout-login-fails--chromium-de/test-failed-1.png",
        "videos/login fails/nested/deep/video.webm",
        "shots\\login-fails\\1.png",
        "x.login.fails",
    ],
)
def test_a_file_or_folder_named_after_a_test_belongs_to_it(path: str) -> None:
    """Its slug stands there as whole words."""
    assert matched([path], "login fails", "logout works") == {path: ["login fails"]}


@pytest.mark.parametrize(
    "path", ["xlogin-fails.png", "login-failsafe.png", "login/fails.png", "fails-login.png", "junit.xml"]
)
def test_parts_of_words_and_words_apart_do_not_count(path: str) -> None:
    """A folder and a file in it are two names."""
    assert matched([path, "fails.txt"], "login fails") == {}


def test_a_slug_of_less_than_six_characters_is_too_short() -> None:
    """It would be in too many names."""
    assert matched(["login.png", "logins.png"], "login", "logins") == {"logins.png": ["logins"]}


def test_the_longest_match_wins_wherever_it_stands() -> None:
    """`login fails twice` is not evidence of `login fails`; a folder's longer match beats the file's."""
    names = ("login fails", "login fails twice", "checkout with a coupon")
    found = matched(["login-fails-twice.png", "checkout-with-a-coupon/login-fails.png", "login-fails-1.png"], *names)
    assert found == {
        "login-fails-twice.png": ["login fails twice"],
        "checkout-with-a-coupon/login-fails.png": ["checkout with a coupon"],
        "login-fails-1.png": ["login fails"],
    }


def test_a_longer_test_that_is_not_there_hides_nothing() -> None:
    """Not even one that is longer than what is left of the name."""
    names = ("log in fails", "log out", "log in fails and then log out")
    assert matched(["log-in-fails-log-out.png", "log-out"], *names) == {
        "log-in-fails-log-out.png": ["log in fails"],
        "log-out": ["log out"],
    }
    assert matched(["log-in-fails-log-out"], *names) == {"log-in-fails-log-out": ["log in fails"]}


def test_all_tests_of_that_very_slug_have_the_file() -> None:
    """Browsers, repeated names, differences that a slug does not show."""
    assert matched(["login-fails.png"], "login fails", "Login_Fails", "login", "login fails") == {
        "login-fails.png": ["login fails", "Login_Fails", "login fails"]
    }


def test_equally_long_matches_in_two_folders_are_both_meant() -> None:
    """Nothing says which; within one name the first is."""
    names = ("log out", "log off")
    assert matched(["log-out/log-off.png"], *names) == {"log-out/log-off.png": ["log out", "log off"]}
    assert matched(["log-off-log-out.png"], *names) == {"log-off-log-out.png": ["log off"]}


def test_the_tests_are_asked_for_no_oftener_than_needed() -> None:
    """Not at all without files, once without matches, else twice."""
    asked = []

    def tests() -> list[tuple[int, str]]:
        asked.append(1)
        return [(7, "login fails")]

    for paths, times in (([], 0), (["a.png"], 1), (["login-fails.png"], 2)):
        asked.clear()
        Naming(paths).match(tests)
        assert len(asked) == times


def test_a_big_job_costs_little_memory_and_time() -> None:
    """Tests by the hundred thousand are never held."""
    names = [f"test_order_{number % 700}_of_customer_{number}" for number in range(50_000)]
    paths = [f"shots/{name}/failed.png" for name in names[::25]]
    tracemalloc.start()
    begun = time.process_time()
    found = Naming(paths).match(lambda: enumerate(names))
    took, (_, peak) = time.process_time() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {path: [25 * place] for place, path in enumerate(paths)}
    assert took < 5
    assert peak < 10_000_000


def test_names_made_to_be_slow_are_not() -> None:
    """Every run of words of every file begins like a test, of any length, and is none."""
    paths = ["a-" * 100 + f"{number}-c" for number in range(2_000)]
    names = ["a " * words + "c" for words in range(3, 127)]
    begun = time.process_time()
    Naming(paths).match(lambda: enumerate(names))
    assert time.process_time() - begun < 10
