"""Secrets that are stored as hashes: what is computed, how much of it at once, and what is remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from werkzeug.security import generate_password_hash

from tests.support import eventually
from tests.web.site import HASHED, OPERATOR, OTHER_TOKEN
from trigger.config.model import Api, Auth, PasswordAuth, Workflow
from trigger.config.secret import Secret
from trigger.errors import RequestError, Throttled, TooManyRequests
from trigger.web import passwords
from trigger.web.auth import Credentials, Guard
from trigger.web.failures import Failures
from trigger.web.passwords import PLACES, PLACES_EACH, Hashes

LIMIT = 1000
CLIENT = "192.0.2.1"


def hashed(text: str) -> Secret:
    """A hash that is quickly computed."""
    return Secret(generate_password_hash(text, method="scrypt:1024:1:1"))


USERS = {"ada": hashed(HASHED), "eve": hashed(OTHER_TOKEN), "bob": Secret(OPERATOR)}


class Computed:
    """Stands for Secret.matches: counts the computations, and holds them up while `hold` is set."""

    def __init__(self) -> None:
        self.count = 0
        self.at_once = 0
        self.most_at_once = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self._lock = threading.Lock()
        self._real = Secret.matches

    def __call__(self, secret: Secret, value: bytes) -> bool:
        if not secret.hashed:
            return self._real(secret, value)
        with self._lock:
            self.count += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.go_on.wait(10)
        try:
            return self._real(secret, value)
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    stand_in = Computed()
    monkeypatch.setattr(Secret, "matches", lambda secret, value: stand_in(secret, value))
    return stand_in


@pytest.fixture
def guard(redis: Redis) -> Guard:
    return Guard(Failures(lambda: LIMIT, redis), Hashes())


def api(auth: Auth, method: str = "order") -> Api:
    workflow = Workflow(name="hello", python="examples.hello:greet")
    return Api(module="shop", method=method, enabled=True, auth=auth, workflow=workflow)


def tried(guard: Guard, user: str, password: str, *, of: Api | None = None, client: str = CLIENT) -> str:
    """Whom the guard takes it for, or the name of the refusal."""
    credentials = Credentials(user=user.encode(), password=password.encode())
    try:
        return str(guard.admit(of or api(PasswordAuth(USERS)), credentials, client))
    except RequestError as error:
        return type(error).__name__


def test_the_same_credentials_are_computed_once_right_or_wrong(guard: Guard, computed: Computed) -> None:
    for _ in range(3):
        assert tried(guard, "ada", HASHED) == "ada"
    assert computed.count == 1
    for _ in range(3):
        assert tried(guard, "ada", "wrong") == "Unauthorized"
    assert computed.count == 2


@pytest.mark.parametrize("user", ["ada", "eve", "bob", "nobody", "nobody-else"])
def test_a_wrong_password_costs_the_same_for_every_user_each_time(guard: Guard, computed: Computed, user: str) -> None:
    """Also for who does not exist, and for who has a plain password beside hashed ones."""
    for other in ("ada", "nobody", "bob", "nobody-else-either"):  # what was tried before must not matter
        tried(guard, other, "wrong")
        tried(guard, other, "wrong", of=api(PasswordAuth(USERS), "another"))
    before = computed.count
    for _ in range(2):
        assert tried(guard, user, "wrong again") == "Unauthorized"
        assert computed.count == before + 1


def test_a_wrong_password_remembered_for_one_user_or_api_is_computed_for_another(
    guard: Guard, computed: Computed
) -> None:
    for number, user in enumerate(("ada", "nobody", "nobody-else", "bob"), 1):
        tried(guard, user, "wrong")
        assert computed.count == number
    for number, user in enumerate(("ada", "nobody"), 5):
        tried(guard, user, "wrong", of=api(PasswordAuth(USERS), "another"))
        assert computed.count == number


def test_an_unknown_user_costs_what_the_hashes_of_the_config_cost() -> None:
    hashes = Hashes()
    like = hashed(HASHED)
    decoy = hashes.decoy(like)
    method = like.reveal().partition("$")[0]
    assert decoy.hashed
    assert decoy.reveal().startswith(f"{method}$")
    assert len(decoy.reveal()) == len(like.reveal())
    assert not decoy.matches(b"")
    assert hashes.decoy(like) is decoy


def test_a_plain_password_beside_hashed_ones_costs_nothing_when_right(guard: Guard, computed: Computed) -> None:
    assert tried(guard, "bob", OPERATOR) == "bob"
    assert computed.count == 0


def test_an_edit_forgets_what_was_known_of_the_old_hash(guard: Guard, computed: Computed) -> None:
    assert tried(guard, "ada", HASHED) == "ada"
    assert tried(guard, "ada", "new-password-of-ada") == "Unauthorized"
    edited = api(PasswordAuth({**USERS, "ada": hashed("new-password-of-ada")}))
    assert tried(guard, "ada", "new-password-of-ada", of=edited) == "ada"
    assert tried(guard, "ada", HASHED, of=edited) == "Unauthorized"
    added = api(PasswordAuth({**USERS, "nobody": hashed("wrong")}))
    assert tried(guard, "nobody", "wrong") == "Unauthorized"
    assert tried(guard, "nobody", "wrong", of=added) == "nobody"


def test_one_is_computed_at_a_time_and_the_same_one_once(guard: Guard, computed: Computed) -> None:
    computed.go_on.clear()
    with ThreadPoolExecutor(PLACES_EACH) as pool:
        waiting = [pool.submit(tried, guard, "ada", "the same wrong one") for _ in range(PLACES_EACH)]
        eventually(lambda: computed.count == 1)
        computed.go_on.set()
        assert {future.result() for future in waiting} == {"Unauthorized"}
        assert computed.count == 1
        for number in range(PLACES_EACH):
            pool.submit(tried, guard, "ada", f"wrong {number}")
    assert computed.count == 1 + PLACES_EACH
    assert computed.most_at_once == 1


def held(pool: ThreadPoolExecutor, guard: Guard, count: int, client: Callable[[int], str]) -> None:
    """So many callers are waiting for a computation."""
    for number in range(count):
        pool.submit(tried, guard, "ada", f"wrong {number}", client=client(number))
    eventually(lambda: guard._hashes._waiting.total() == count)


def test_one_network_can_not_take_all_places(guard: Guard, computed: Computed) -> None:
    computed.go_on.clear()
    with ThreadPoolExecutor(PLACES) as pool:
        held(pool, guard, PLACES_EACH, lambda number: f"2001:db8::{number}")
        credentials = Credentials(user=b"ada", password=b"one more")
        with pytest.raises(TooManyRequests) as refused:
            guard.admit(api(PasswordAuth(USERS)), credentials, "2001:db8::ffff")
        assert refused.value.headers["Retry-After"] == "1"
        assert not isinstance(refused.value, Throttled)
        good = pool.submit(tried, guard, "ada", HASHED, client="192.0.2.200")
        eventually(lambda: guard._hashes._waiting.total() == PLACES_EACH + 1)
        computed.go_on.set()
        assert good.result() == "ada"
    assert not guard._hashes._waiting


def test_all_networks_together_have_a_bounded_number_of_places(guard: Guard, computed: Computed) -> None:
    assert tried(guard, "eve", OTHER_TOKEN) == "eve"
    computed.go_on.clear()
    with ThreadPoolExecutor(PLACES) as pool:
        held(pool, guard, PLACES, lambda number: f"192.0.2.{number}")
        assert tried(guard, "ada", HASHED, client="198.51.100.1") == "TooManyRequests"
        assert tried(guard, "eve", OTHER_TOKEN, client="198.51.100.2") == "eve"  # remembered
        assert tried(guard, "bob", OPERATOR, client="198.51.100.3") == "bob"  # plain
        computed.go_on.set()
    assert computed.most_at_once == 1


def test_who_waits_in_vain_for_a_place_is_not_counted_as_wrong(redis: Redis, computed: Computed) -> None:
    guard = Guard(Failures(lambda: PLACES_EACH + 1, redis), Hashes())
    computed.go_on.clear()
    with ThreadPoolExecutor(PLACES) as pool:
        held(pool, guard, PLACES_EACH, lambda number: CLIENT)
        for _ in range(10):
            assert tried(guard, "ada", "one more") == "TooManyRequests"
        computed.go_on.set()
    assert tried(guard, "ada", HASHED) == "ada"


def test_over_the_limit_nothing_is_computed(redis: Redis, computed: Computed) -> None:
    guard = Guard(Failures(lambda: 3, redis), Hashes())
    for number in range(10):
        answer = tried(guard, "ada", f"a wrong password, number {number}")
        assert answer == ("Unauthorized" if number < 3 else "Throttled")
    assert computed.count == 3
    assert tried(guard, "ada", HASHED) == "Throttled"
    assert computed.count == 3
    assert tried(guard, "ada", HASHED, client="192.0.2.2") == "ada"
    assert tried(guard, "ada", HASHED) == "ada"  # it is known to be right meanwhile


def test_memory_is_bounded_and_wrong_ones_push_no_right_one_out(
    guard: Guard, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "REMEMBERED", 3)
    assert tried(guard, "ada", HASHED) == "ada"
    for number in range(10):
        tried(guard, "ada", f"wrong {number}")
    before = computed.count
    assert tried(guard, "ada", HASHED) == "ada"
    assert tried(guard, "ada", "wrong 9") == "Unauthorized"
    assert computed.count == before
    assert len(guard._hashes._wrong) == 3


def test_computations_are_made_off_the_loop(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    left_to: list[Callable[..., object]] = []

    def offload(function: Callable[..., bool], *args: object) -> bool:
        left_to.append(function)
        return function(*args)

    monkeypatch.setattr(passwords, "offload", offload)
    assert tried(guard, "ada", HASHED) == "ada"
    assert len(left_to) == 1


def test_nothing_shows_a_secret(guard: Guard) -> None:
    tried(guard, "ada", HASHED)
    shown = repr([guard, guard._hashes, vars(guard._hashes), Credentials(user=b"ada", password=HASHED.encode())])
    assert HASHED not in shown
    assert USERS["ada"].reveal() not in shown
