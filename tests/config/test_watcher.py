"""Edits of a running service's config, with real files (D10)."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import eventually
from trigger.config import Config, Watcher, load
from trigger.errors import ConfigError

from .writing import MINIMAL, api, write

BROKEN = MINIMAL.replace("enabled", "enbled")
OFF = MINIMAL.replace("enabled: true", "enabled: false")


def settle(watcher: Watcher) -> bool:
    """Look as often as it takes; whether another version came into force."""
    return sum(watcher.poll() for _ in range(3)) > 0


class Service:
    """A watcher with everything it told."""

    def __init__(self, path: Path, environ: Mapping[str, str] | None = None) -> None:
        self.changes: list[Config] = []
        self.refusals: list[ConfigError] = []
        self.told = threading.Event()
        self.load: Callable[[], Config] = lambda: load(path, environ or {})
        self.watcher = Watcher(self.load(), lambda _: self.load(), self._change, self._refuse)

    def _change(self, config: Config) -> None:
        self.changes.append(config)
        self.told.set()

    def _refuse(self, error: ConfigError) -> None:
        self.refusals.append(error)
        self.told.set()

    @property
    def enabled(self) -> bool:
        return self.watcher.current.apis["shop", "order"].enabled

    def settle(self) -> bool:
        """Look until nothing is pending; whether another version came into force."""
        return settle(self.watcher)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(write(tmp_path, MINIMAL))


def replace(path: Path, text: str) -> None:
    """As editors and deployments write: a new file, renamed over the old."""
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def test_an_edit_in_place_is_taken_up(tmp_path: Path, service: Service) -> None:
    (tmp_path / "config.yaml").write_text(OFF)
    assert service.settle()
    assert not service.enabled
    assert service.changes == [service.watcher.current]


def test_a_rename_over_the_file_is_taken_up(tmp_path: Path, service: Service) -> None:
    replace(tmp_path / "config.yaml", OFF)
    assert service.settle()
    assert not service.enabled


def test_an_edit_of_the_same_size_and_time_is_taken_up(tmp_path: Path, service: Service) -> None:
    path = tmp_path / "config.yaml"
    before = path.stat()
    path.write_text(
        MINIMAL.replace("enabled: true ", "enabled: false").replace("Demo", "demo").replace("hello", "hallo")
    )
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    eventually(service.watcher.poll)  # a workflow has vanished, so it takes a while
    assert "hallo" in service.watcher.current.workflows


def test_a_symlink_swapped_is_taken_up(tmp_path: Path) -> None:
    for name, text in (("one", MINIMAL), ("two", OFF)):
        (tmp_path / name).write_text(text)
    link = tmp_path / "config.yaml"
    link.symlink_to("one")
    service = Service(link)
    (tmp_path / "link").symlink_to("two")
    (tmp_path / "link").rename(link)
    assert service.settle()
    assert not service.enabled


def test_a_folder_swapped_as_kubernetes_does_is_taken_up(tmp_path: Path) -> None:
    for name, text in (("..1", MINIMAL), ("..2", OFF)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    service = Service(tmp_path / "config.yaml")
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert service.settle()
    assert not service.enabled


def test_a_file_that_is_still_being_written_is_left_until_it_settles(tmp_path: Path, service: Service) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(OFF[:40])
    assert not service.watcher.poll()
    path.write_text(OFF)
    assert not service.watcher.poll()
    assert service.watcher.poll()
    assert service.refusals == []


MORE = MINIMAL + "      cancel: {auth: {mode: none}, workflow: hello}\n"


def test_an_edit_by_which_an_api_vanishes_has_to_stand_for_longer(tmp_path: Path, service: Service) -> None:
    """An in-place save may pause behind a whole line (found.md 19)."""
    write(tmp_path, MORE)
    assert service.settle()
    (tmp_path / "config.yaml").write_text(MINIMAL)
    assert not service.settle()
    (tmp_path / "config.yaml").write_text(MORE.replace("enabled: true", "enabled: false"))
    assert service.settle()
    assert [api.enabled for api in service.watcher.current.apis.values()] == [False, False]
    assert len(service.changes) == 2
    (tmp_path / "config.yaml").write_text(MINIMAL)
    assert not service.settle()
    eventually(service.watcher.poll)
    assert len(service.watcher.current.apis) == 1


def test_a_workflow_that_vanishes_has_to_stay_away_too(tmp_path: Path, service: Service) -> None:
    (tmp_path / "config.yaml").write_text(MINIMAL.replace("hello:", "hallo:").replace("w: hello", "w: hallo"))
    assert not service.settle()
    (tmp_path / "config.yaml").write_text(MINIMAL)
    assert not service.settle()
    assert service.changes == []


def test_a_version_that_another_process_has_in_force_is_taken_up_at_once(tmp_path: Path, service: Service) -> None:
    (tmp_path / "config.yaml").write_text(OFF)
    version = service.load().version
    assert not service.watcher.catch_up("0123456789ab")
    assert not service.watcher.catch_up("")
    assert service.enabled
    assert [service.watcher.catch_up(version) for _ in range(2)] == [True, False]
    assert not service.settle()
    assert [config.version for config in service.changes] == [version]


def test_who_has_edited_can_wait_until_that_was_taken_up_or_refused(tmp_path: Path, service: Service) -> None:
    assert service.watcher.settle(0)
    write(tmp_path, OFF)
    assert not service.watcher.settle(0)
    service.watcher.start(0.01)
    assert service.watcher.settle(20)
    assert not service.enabled
    write(tmp_path, BROKEN)
    assert service.watcher.settle(20)
    assert service.watcher.refused
    service.watcher.stop()


def test_a_broken_edit_is_refused_once_and_the_last_good_version_goes_on(tmp_path: Path, service: Service) -> None:
    good = service.watcher.current
    write(tmp_path, BROKEN)
    assert not service.settle()
    assert not service.settle()
    assert service.watcher.current is good
    assert service.watcher.refused is service.refusals[0]
    assert [one.line for one in service.refusals[0].mistakes] == [7]
    assert (len(service.refusals), service.changes) == (1, [])


def test_a_mended_edit_is_taken_up_and_the_refusal_is_over(tmp_path: Path, service: Service) -> None:
    write(tmp_path, BROKEN)
    service.settle()
    write(tmp_path, OFF)
    assert service.settle()
    assert service.watcher.refused is None
    assert not service.enabled


def test_going_back_to_the_version_in_force_ends_the_refusal_and_changes_nothing(
    tmp_path: Path, service: Service
) -> None:
    good = service.watcher.current
    write(tmp_path, BROKEN)
    service.settle()
    write(tmp_path, MINIMAL)
    assert not service.settle()
    assert service.watcher.refused is None
    assert service.watcher.current is good
    assert service.changes == []


def test_edits_are_counted_by_what_became_of_them(tmp_path: Path, service: Service) -> None:
    assert service.watcher.edits == (0, 0)
    for text in (OFF, BROKEN, BROKEN + "#", OFF, MINIMAL):  # the same mistakes once more, and back to what is in force
        write(tmp_path, text)
        service.settle()
    assert service.watcher.edits == (2, 1)


def test_a_file_gone_for_a_while_keeps_the_service_going(tmp_path: Path, service: Service) -> None:
    (tmp_path / "config.yaml").unlink()
    service.settle()
    assert service.enabled
    assert "does not exist" in str(service.watcher.refused)
    write(tmp_path, OFF)
    assert service.settle()
    assert service.watcher.refused is None


def test_a_touched_file_with_the_same_text_changes_nothing(tmp_path: Path, service: Service) -> None:
    replace(tmp_path / "config.yaml", MINIMAL)
    assert not service.settle()
    assert service.changes == []


def test_a_rotated_secrets_file_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("the-old-token-long-enough")
    service = Service(write(tmp_path, api("", auth="{mode: token, token: '${file:token}'}")))
    (tmp_path / "token").write_text("the-new-token-long-enough")
    assert service.settle()


def test_a_secrets_file_that_only_the_refused_version_names_mends_it_when_it_comes(
    tmp_path: Path, service: Service
) -> None:
    write(tmp_path, api("", auth="{mode: token, token: '${file:token}'}"))
    service.settle()
    assert "'token' does not exist" in str(service.watcher.refused)
    (tmp_path / "token").write_text("a-token-that-is-long-enough")
    assert service.settle()
    assert service.watcher.refused is None
    assert service.watcher.current.files[:2] == (tmp_path / "config.yaml", tmp_path / "token")


def test_a_service_started_with_an_earlier_text_tells_of_the_broken_file_and_takes_the_mended_one(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, BROKEN)
    watcher = Watcher(load(path, {}, text=MINIMAL.encode()), lambda _: load(path, {}), lambda _: None, lambda _: None)
    assert watcher.current.files[0] == path
    assert not settle(watcher)
    assert watcher.refused is not None
    write(tmp_path, OFF)
    assert settle(watcher)
    assert watcher.refused is None


def test_an_edit_between_the_load_and_the_first_look_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    config = load(path, {})
    path.write_text(OFF)
    watcher = Watcher(config, lambda _: load(path, {}), lambda _: None, lambda _: None)
    assert settle(watcher)


def test_a_failure_while_reloading_is_logged_and_the_last_good_version_stays(
    tmp_path: Path, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Config:
        raise ZeroDivisionError("hunter2")

    working, service.load = service.load, fail
    write(tmp_path, OFF)
    with caplog.at_level(logging.ERROR):
        assert not service.settle()
    assert "the last good one stays" in caplog.text
    assert service.enabled
    assert "ZeroDivisionError" in str(service.watcher.refused)
    assert "hunter2" not in str(service.watcher.refused)
    service.load = working
    write(tmp_path, OFF + "#")
    assert service.settle()


def test_a_version_that_the_service_can_not_put_in_force_is_not_current(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)

    def change(_: Config) -> None:
        raise RuntimeError("no")

    watcher = Watcher(load(path, {}), lambda _: load(path, {}), change, lambda _: None)
    path.write_text(OFF)
    assert not settle(watcher)
    assert watcher.current.apis["shop", "order"].enabled
    assert watcher.refused is not None


@pytest.fixture
def watching(service: Service) -> Iterator[Service]:
    service.watcher.start(interval=0.02)
    yield service
    service.watcher.stop()


def test_the_thread_takes_up_edits_until_it_is_stopped(tmp_path: Path, watching: Service) -> None:
    watching.watcher.start()  # a second start changes nothing
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("config-watcher") == 1
    replace(tmp_path / "config.yaml", OFF)
    assert watching.told.wait(30)
    watching.watcher.stop()
    assert not watching.enabled
    assert "config-watcher" not in [thread.name for thread in threading.enumerate()]
    watching.watcher.stop()


def test_the_thread_tells_of_a_refused_edit(tmp_path: Path, watching: Service) -> None:
    replace(tmp_path / "config.yaml", BROKEN)
    assert watching.told.wait(30)
    assert watching.refusals
