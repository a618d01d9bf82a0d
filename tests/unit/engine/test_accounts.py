"""Passwords and the throttle against guessing them."""

from __future__ import annotations

from argon2 import PasswordHasher

from vmseal.engine.accounts import FREE_FAILURES, LONGEST_PAUSE, MAX_TRACKED, REMEMBERED, Accounts, Throttle

HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_only_the_right_password_of_a_user_that_exists() -> None:
    accounts = Accounts({"a@internal": HASHER.hash("pw"), "broken@internal": "no hash"}, hasher=HASHER)
    assert accounts.verify("a@internal", "pw")
    assert not accounts.verify("a@internal", "pw ")
    assert not accounts.verify("b@internal", "pw")
    assert not accounts.verify("broken@internal", "no hash")
    assert not accounts.verify("a@internal", "\ud800")
    assert Accounts({"a@internal": Accounts.hash("pw")}).verify("a@internal", "pw")


def test_a_verified_pair_is_remembered_for_a_while() -> None:
    clock = Clock()
    accounts = Accounts({"a@internal": HASHER.hash("pw")}, hasher=HASHER, clock=clock)
    assert not accounts.is_remembered("a@internal", "pw")
    assert not accounts.verify_again("a@internal", "wrong")
    assert not accounts.is_remembered("a@internal", "wrong")
    assert accounts.verify_again("a@internal", "pw")
    assert accounts.is_remembered("a@internal", "pw")
    assert not accounts.is_remembered("a@internal", "pwx")
    assert not accounts.is_remembered("a@internalp", "w")
    clock.now += REMEMBERED + 1
    assert not accounts.is_remembered("a@internal", "pw")


def test_pauses_grow_and_end() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(FREE_FAILURES):
        assert throttle.pause("x") == 0.0
        throttle.failed("x")
    pauses = []
    for _ in range(10):
        pauses.append(throttle.pause("x"))
        clock.now += pauses[-1]
        assert throttle.pause("x") == 0.0
        throttle.failed("x")
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(pauses) == LONGEST_PAUSE
    assert throttle.pause("y") == 0.0
    throttle.succeeded("x")
    assert throttle.pause("x") == 0.0


def test_the_throttle_does_not_grow_for_ever() -> None:
    throttle = Throttle(Clock())
    for number in range(MAX_TRACKED + 10):
        throttle.failed(str(number))
    assert len(throttle._failures) == MAX_TRACKED
