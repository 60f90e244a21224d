"""What deploy/ has for Prometheus and Grafana: Prometheus' own tools find no fault, and all of it is about figures that
the service really has."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from tests.programs import free_port, needs_program
from tests.store.conftest import FAILED, SUCCEEDED, Bench, api
from tests.support import ROOT, OwnRedis, eventually
from tests.web.site import CONFIG, OPERATOR, Gunicorn, accepted, basic
from trigger.errors import TooManyRequests, Unauthorized

DEPLOY = ROOT / "deploy" / "prometheus"
RULES = DEPLOY / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "trigger.json"


def promtool(*arguments: str | Path, given: bytes = b"") -> None:
    """Runs promtool, which is to find no fault."""
    done = subprocess.run(
        [needs_program("promtool"), *arguments], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout.decode()


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def shown() -> list[str]:
    """The expressions of the dashboard, with something in place of Grafana's variables."""
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    values = {"$__rate_interval": "1m", "$job": ".+", "$instance": ".+"}
    return [re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], text) for text in expressions]


@pytest.fixture(scope="module")
def web(redis_server: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The service, with calls and executions of every kind behind it."""
    redis = Redis.from_url(redis_server.url)
    redis.flushall()
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "config.yaml").write_text(CONFIG)
    bench = Bench(redis)
    for result in (SUCCEEDED, FAILED):
        bench.accept(api(callbacks={"ops": ("failed",)}))
        bench.run(result)
    bench.send(SUCCEEDED)
    with Gunicorn(folder, redis_server.url) as web:
        accepted(web.call("open/any", body=b"{}"))
        web.call("keyed/one")
        eventually(lambda: "trigger_calls_total{" in exposition(web))
        yield web
    redis.flushall()


def exposition(web: Gunicorn) -> str:
    answer = web.call("/metrics", "GET", headers=basic("admin", OPERATOR))
    assert answer.status == 200, answer.body
    return answer.body.decode()


def test_promtool_finds_no_fault_in_rules_and_config() -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", DEPLOY / "prometheus.yml")


def test_each_alert_fires_when_it_should_and_not_when_all_is_well(tmp_path: Path) -> None:
    cases = (ROOT / "tests" / "alerts.test.yml").read_text().replace("RULES", json.dumps(str(RULES)))
    (tmp_path / "cases.yml").write_text(cases)
    promtool("test", "rules", tmp_path / "cases.yml")
    tried = [case for test in yaml.safe_load(cases)["tests"] for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in alerts()}
    assert {case["alertname"] for case in tried if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in tried if not case.get("exp_alerts")} == names


def test_promtool_finds_no_fault_in_what_the_service_says(web: Gunicorn) -> None:
    promtool("check", "metrics", given=exposition(web).encode())


def test_alerts_and_dashboard_are_about_figures_that_there_are(web: Gunicorn) -> None:
    there = set(re.findall(r"^(trigger_[a-z_]+)", exposition(web), re.MULTILINE))
    for text in (*(rule["expr"] for rule in alerts()), *shown()):
        used = set(re.findall(r"\btrigger_[a-z_]+", text))
        assert used <= there, text
        assert used or 'up{job="trigger"}' in text


def test_labels_that_alerts_and_dashboard_ask_for_are_there(web: Gunicorn) -> None:
    text = exposition(web)
    for expression in (*(rule["expr"] for rule in alerts()), *shown()):
        for label, value in re.findall(r'\b(outcome|status|state)="([^"]+)"', expression):
            # The codes of refusals come with the first of each.
            assert value in (Unauthorized.code, TooManyRequests.code) or f'{label}="{value}"' in text, expression


def test_every_figure_of_ours_is_on_the_dashboard(web: Gunicorn) -> None:
    used = " ".join(shown())
    families = set(re.findall(r"^# TYPE (trigger_[a-z_]+)", exposition(web), re.MULTILINE))
    assert {name for name in families if name not in used} == {"trigger_build_info"}  # which fills its variables


def test_the_dashboards_expressions_can_be_read(tmp_path: Path) -> None:
    rules = [{"record": f"dashboard:{number}", "expr": text} for number, text in enumerate(shown())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yml")


def test_the_dashboards_panels_have_a_place_a_title_and_a_description_each() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for names in ([panel["id"] for panel in dashboard["panels"]], [panel["title"] for panel in panels()]):
        assert len(set(names)) == len(names)
    assert all(panel["description"] for panel in panels())


def test_a_prometheus_of_this_config_reads_the_figures(web: Gunicorn, tmp_path: Path) -> None:
    config = (DEPLOY / "prometheus.yml").read_text()
    for old, new in (("127.0.0.1:8080", f"127.0.0.1:{web.port}"), ("15s", "1s")):
        assert old in config
        config = config.replace(old, new)
    (tmp_path / "prometheus.yml").write_text(config)
    (tmp_path / "alerts.yml").write_text(RULES.read_text())
    (tmp_path / "trigger-password").write_text(OPERATOR)
    port = free_port()
    command = [
        needs_program("prometheus"),
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]

    def ask(query: str) -> Any:
        url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return None  # it has not begun

    with (tmp_path / "log").open("wb") as log:
        prometheus = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: ask('up{job="trigger"} == 1'), within=60)
        (calls,) = eventually(lambda: ask('trigger_calls_total{method="any", outcome="accepted"}'))
        assert calls["value"][1] == "1"
        for text in shown():
            assert ask(text) is not None, text
        assert eventually(lambda: ask('ALERTS{alertname="TriggerNoWorkers"}'))  # there are none in this test
    finally:
        prometheus.terminate()
        prometheus.wait(30)
