"""The config in force outlives bad edits, also in a process that starts while the file is broken."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from trigger.config import Settings, Watcher
from trigger.errors import ConfigError
from trigger.inforce import FROM_LAST_GOOD, InForce, load_checked, private_data, redis_url, watch
from trigger.inforce.versions import KEPT, LAST_GOOD, SAID, VERSIONS
from trigger.redis_server import private_redis_url

GOOD = "workflows: {hello: 'greetings:greet'}\nmodules: {shop: {methods: {a: {auth: {mode: none}, workflow: hello}}}}\n"
MORE = GOOD.replace("methods: {a:", "methods: {b: {auth: {mode: none}, workflow: hello}, a:")
BROKEN = "modules: [\n"
PUBLIC = GOOD.replace("{mode: none}", "{mode: token, token: '123456'}").replace("a: {", "a: {enabled: true, ")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "greetings.py").write_text("def greet(value):\n    return value\n")
    (tmp_path / "config.yaml").write_text(GOOD)
    return Settings(config=tmp_path / "config.yaml", data=tmp_path / "data")


def look(watcher: Watcher) -> None:
    """As many looks as it takes to see an edit, settled, and what an edit of the moment leaves to the next one."""
    for _ in range(4):
        watcher.poll()


def apis(watcher: Watcher) -> set[str]:
    return {method for _, method in watcher.current.apis}


def test_a_process_that_starts_with_a_broken_file_serves_the_last_good_version(settings: Settings) -> None:
    watch(settings, {})
    settings.config.write_text(BROKEN)
    watcher = watch(settings, {})
    assert apis(watcher) == {"a"}
    look(watcher)
    assert watcher.refused
    settings.config.write_text(MORE)
    look(watcher)
    assert apis(watcher) == {"a", "b"}
    assert not watcher.refused


def test_without_a_last_good_version_a_broken_file_is_an_error(settings: Settings) -> None:
    settings.config.write_text(BROKEN)
    with pytest.raises(ConfigError):
        watch(settings, {})


def test_the_last_good_version_of_another_file_is_not_taken(settings: Settings) -> None:
    watch(settings, {})
    other = Settings(config=settings.config.with_name("other.yaml"), data=settings.data)
    other.config.write_text(BROKEN)
    with pytest.raises(ConfigError):
        watch(other, {})


def test_a_process_can_be_told_to_begin_with_the_last_good_version(settings: Settings) -> None:
    watch(settings, {})
    settings.config.write_text(MORE)
    watcher = watch(settings, {FROM_LAST_GOOD: "yes"})
    assert apis(watcher) == {"a"}
    look(watcher)
    assert apis(watcher) == {"a", "b"}


def test_it_is_told_when_another_version_has_come_into_force(settings: Settings) -> None:
    watcher = watch(settings, {})
    in_force = InForce(settings)
    assert in_force.changed({}) is None
    settings.config.write_text(MORE)
    assert in_force.changed({}) is None
    look(watcher)
    changed = in_force.changed({})
    assert changed is not None
    assert changed.digest == watcher.current.digest
    assert in_force.changed({}) is None


def test_the_last_good_version_is_for_its_owner_only(settings: Settings) -> None:
    watch(settings, {})
    kept = settings.data / LAST_GOOD
    assert kept.read_text() == GOOD
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.data.stat().st_mode) == 0o700


def test_a_process_that_missed_a_good_edit_before_a_broken_one_follows_the_others(settings: Settings) -> None:
    quick, slow = watch(settings, {}), watch(settings, {})
    settings.config.write_text(MORE)
    look(quick)
    settings.config.write_text(BROKEN)
    look(quick)
    look(slow)
    assert apis(quick) == apis(slow) == {"a", "b"}
    assert quick.refused
    assert slow.refused


@pytest.mark.parametrize(
    ("workflow", "wrong"), [("greetings:nothing", "no such callable"), ("elsewhere:greet", "no module")]
)
def test_an_edit_that_names_code_which_does_not_import_is_refused(
    settings: Settings, workflow: str, wrong: str
) -> None:
    watcher = watch(settings, {})
    settings.config.write_text(MORE.replace("greetings:greet", workflow))
    look(watcher)
    assert wrong in str(watcher.refused)
    assert apis(watcher) == {"a"}


def test_code_that_breaks_is_refused_like_the_config_and_kept_for_a_process_that_starts(settings: Settings) -> None:
    module = settings.config.with_name("greetings.py")
    watcher = watch(settings, {})
    version = watcher.current.version
    module.write_text("def greet(value)\n    return value\n")
    look(watcher)
    assert "raised SyntaxError" in str(watcher.refused)
    later = watch(settings, {})
    for each in (watcher, later):
        look(each)
        assert each.refused
        assert each.current.version == version
    (kept,) = (settings.data / VERSIONS).iterdir()
    assert kept.name == f"{version}.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    module.write_text("def greet(value):\n    return [value]\n")
    for each in (watcher, later):
        look(each)
        assert each.refused is None
    assert watcher.current.version == later.current.version != version


def test_an_edit_of_code_is_told_once_and_the_file_named(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    watchers = [watch(settings, {}) for _ in range(3)]
    with caplog.at_level("INFO"):
        for text in ("def greet(value):\n    return 2\n", "def greet(:\n", "def greet(value):\n    return 2\n"):
            settings.config.with_name("greetings.py").write_text(text)
            for watcher in watchers:
                look(watcher)
    said = [record.getMessage() for record in caplog.records if record.name == "trigger.config"]
    assert sum("the edited code is in force: greetings.py" in line for line in said) == 1
    assert sum("is not taken up" in line for line in said) == 1
    assert sum("again as it was" in line for line in said) == 1


def test_what_tells_of_edits_may_be_unreadable(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.data.mkdir(mode=0o700)
    (settings.data / SAID).write_bytes(b"\xff nonsense\n\n")
    (settings.data / VERSIONS).mkdir()
    (settings.data / VERSIONS / "0.json").write_text("[1]")
    watcher = watch(settings, {})
    settings.config.write_text(MORE)
    with caplog.at_level("INFO"):
        look(watcher)
    assert "the edited config is in force" in caplog.text


def test_the_last_versions_can_be_had_again(settings: Settings) -> None:
    watcher = watch(settings, {})
    first = watcher.current
    versions = []
    for number in range(KEPT + 1):
        settings.config.write_text(f"{MORE}retention: {number + 1}h\n")
        look(watcher)
        versions.append(watcher.current.version)
    assert len(set(versions)) == KEPT + 1
    assert watcher.earlier(first.version) is watcher.earlier(versions[0]) is watcher.earlier("../config") is None
    again = watch(settings, {}).earlier(versions[1])
    assert again is not None
    assert again.retention == 2 * 3600
    assert again.code == watcher.current.code


def test_an_edit_that_brings_a_demo_credential_onto_a_network_is_refused(settings: Settings) -> None:
    public = Settings(config=settings.config, data=settings.data, host="192.0.2.1")
    watcher = watch(public, {})
    settings.config.write_text(PUBLIC)
    look(watcher)
    assert "demo credentials" in str(watcher.refused)
    settings.config.write_text(GOOD)
    look(watcher)
    assert watcher.refused is None


def test_a_check_finds_everything(settings: Settings) -> None:
    settings.config.write_text(
        MORE.replace("greetings:greet", "greetings:nothing").replace("mode: none", "mode: noen", 1)
    )
    with pytest.raises(ConfigError) as found:
        load_checked(settings, {})
    assert len(found.value.mistakes) == 2


def test_redis_is_where_the_environment_says_else_the_config_else_the_private_one(settings: Settings) -> None:
    config = load_checked(settings, {})
    assert redis_url(settings, config) == private_redis_url(settings.data)
    assert private_data(settings, config) == settings.data
    settings.config.write_text(GOOD + "redis: redis://127.0.0.1:1/0\n")
    config = load_checked(settings, {})
    assert redis_url(settings, config) == "redis://127.0.0.1:1/0"
    assert private_data(settings, config) is None
    given = Settings.from_environ({"REDIS_URL": "redis://127.0.0.1:2/0", "TRIGGER_DATA": str(settings.data)})
    assert redis_url(given, config) == "redis://127.0.0.1:2/0"
