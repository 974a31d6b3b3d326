"""docker-compose.yml, Dockerfile and .env.example: hardened, without default secrets, and in the engine's own words."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from engine.bench.messages import table
from engine.channels.checks import Known
from engine.channels.site import inspect_channel
from engine.settings import PREFIX, load, manifest
from tests.conftest import ROOT, missing
from tests.unit.test_docs import called, commands

COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
ENV_EXAMPLE = (ROOT / ".env.example").read_text("utf-8")
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))
LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]
CHANNEL = ROOT / "deploy" / "compose" / "channels" / "willow-lab"
STORES = {"postgres", "redis"}
DEPLOYED = [
    ROOT / name
    for name in (
        "Dockerfile",
        "docker-compose.yml",
        ".env.example",
        "deploy/interlock.service",
        "deploy/interlock@.service",
        "deploy/healthcheck.py",
    )
]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as a compose reads it, with a stand-in for every variable of the environment."""
    try:
        import yaml
    except ModuleNotFoundError:
        missing("PyYAML is not installed: run make setup")
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", r"given-\1", COMPOSE)
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("given-INTERLOCK_KEY", "A" * 43 + "=")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    assert {"postgres", "redis", "migrate", "ingress", "web", "laboratory", "ehr"} <= set(found)
    assert sum(service.get("command") == ["serve", "--role", "worker"] for service in found.values()) == 2
    return found


def engines(services: dict[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in services.items() if name not in STORES}


# what every service is


def test_every_service_can_do_little(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["ulimits"] == {"core": 0}, name
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
        assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"} & set(service), name


def test_every_service_that_stays_is_asked_whether_it_is_well(services: dict[str, Any]) -> None:
    for name, service in services.items():
        ends = service["restart"] == "no"
        assert ("test" in service["healthcheck"]) is not ends, name
        assert bool(service["healthcheck"].get("disable")) is ends, name


def test_every_dependency_is_a_service_and_is_waited_for_as_it_can_be(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            ends = services[other]["restart"] == "no"
            assert (how["condition"] == "service_completed_successfully") is ends, f"{name}: {other}"


def test_only_messages_and_pages_come_in_and_only_from_this_machine(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"ingress": ["127.0.0.1:2575:2575"], "web": ["127.0.0.1:8080:8080"]}


def test_the_stores_are_on_a_network_without_a_way_out(compose: dict[str, Any], services: dict[str, Any]) -> None:
    assert compose["networks"]["stores"] == {"internal": True}
    assert all(services[name]["networks"] == ["stores"] for name in (*STORES, "migrate"))
    assert all("stores" not in services[name]["networks"] for name in ("laboratory", "ehr"))


def test_redis_refuses_rather_than_forgets(services: dict[str, Any]) -> None:
    assert "--maxmemory-policy noeviction" in services["redis"]["command"][-1]


def test_no_durability_of_postgresql_is_given_up(services: dict[str, Any]) -> None:
    assert "command" not in services["postgres"]
    assert not re.search(r"(fsync|full_page_writes|synchronous_commit)\s*=", COMPOSE)


# secrets


def test_no_secret_has_a_default() -> None:
    named = re.findall(r"^\s+(\w*(?:PASSWORD|KEY|AUTH|STORE|BROKER)\w*): (.+)$", COMPOSE, re.MULTILINE)
    assert {"POSTGRES_PASSWORD", "REDISCLI_AUTH", "INTERLOCK_KEY", "INTERLOCK_STORE"} <= {name for name, _ in named}
    assert [name for name, value in named if not re.search(r"\$\{\w+:\?[^}]+\}", value)] == []
    assert not re.search(r"\$\{\w*(PASSWORD|KEY)\w*(:?-|\})", COMPOSE)


def test_the_example_names_every_required_variable_and_gives_none() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    given = dict(line.split("=", 1) for line in ENV_EXAMPLE.splitlines() if line and not line.startswith("#"))
    assert given == dict.fromkeys(required, "") | {"COMPOSE_PROFILES": "simulation"}
    optional = set(re.findall(r"\$\{(\w+):-", COMPOSE))
    assert {line[1:].split("=")[0] for line in ENV_EXAMPLE.splitlines() if re.match(r"#\w+=", line)} == optional


def test_simulators_are_told_no_secret(services: dict[str, Any]) -> None:
    for name in ("laboratory", "ehr"):
        assert services[name]["environment"] == {}
        assert services[name]["profiles"] == ["simulation"]


# the engine's own words


@pytest.mark.parametrize("file", DEPLOYED, ids=lambda file: file.name)
def test_every_variable_is_a_setting(file: Path) -> None:
    used = set(re.findall(rf"\b{PREFIX}[A-Z_]+", file.read_text("utf-8")))
    assert used <= {setting.variable for setting in manifest()}


def test_every_service_has_settings_that_can_be_read(services: dict[str, Any]) -> None:
    for name, service in engines(services).items():
        settings = load(service["environment"])
        assert settings.store.startswith("postgresql://") is (name not in ("laboratory", "ehr")), name
        assert seconds(service["stop_grace_period"]) > settings.grace_seconds, name


def test_the_engine_is_never_the_owner_of_its_schema(services: dict[str, Any]) -> None:
    stores = {name: load(service["environment"]).store for name, service in engines(services).items()}
    roles = {name: urlsplit(store).username for name, store in stores.items() if store}
    assert roles.pop("migrate") == "interlock_owner"
    assert set(roles.values()) == {"interlock_app"}


def test_every_command_line_can_be_called(services: dict[str, Any]) -> None:
    known = commands()
    for service in engines(services).values():
        name, rest = called(service["command"], known)
        context = known[name].make_context(name, list(rest))  # raises for an option or argument that is not one
        load({}, role=context.params.get("role"))


def test_processes_share_their_channels_and_nothing_else(services: dict[str, Any]) -> None:
    serving = [service for service in services.values() if service.get("command", [""])[0] == "serve"]
    data = [service["volumes"][0].split(":")[0] for service in serving]
    assert len(set(data)) == len(serving) == 4  # each locks its own data folder
    assert len({tuple(service["volumes"][1:]) for service in serving}) == 1


# the channel that it comes with


def test_the_channel_is_sound_and_fits_the_services(services: dict[str, Any]) -> None:
    channel, faults = inspect_channel(CHANNEL, Known(tables=frozenset({"willow-loinc"})))
    assert faults == []
    assert channel is not None
    text = tomllib.loads((CHANNEL / "channel.toml").read_text("utf-8"))
    assert text["environment"] == "test"
    assert text["source"]["listen"].rpartition(":")[2] == services["ingress"]["ports"][0].rpartition(":")[2]
    assert services["laboratory"]["command"][-1] == "mllp://ingress:2575"
    listening = {words.rpartition(":")[2] for words in services["ehr"]["command"] if ":" in words}
    assert {re.sub(r"\D", "", place["to"].partition("//ehr:")[2]) for place in text["destination"]} == listening


def test_the_table_is_the_laboratorys_own() -> None:
    with (ROOT / "deploy" / "compose" / "tables" / "willow-loinc.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["local_code", "code", "display", "system"]
    assert [tuple(row) for row in rows] == table()


# the image


def test_the_image_runs_as_nobody_special_and_is_asked_whether_it_is_well() -> None:
    assert re.search(r"^USER 10001:10001$", LAST_STAGE, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["interlock"\]$', LAST_STAGE, re.MULTILINE)
    (check,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", LAST_STAGE, re.MULTILINE)
    assert json.loads(check) == ["python", "/opt/interlock/healthcheck.py"]
    assert "org.opencontainers.image.licenses" in LAST_STAGE


def test_the_image_holds_what_the_lock_pins_and_no_tool_to_build() -> None:
    assert "--require-hashes --only-binary :all:" in DOCKERFILE
    assert not re.search(r"apt-get|gcc|build-essential|curl|pip install", LAST_STAGE)
    assert "--from=build" in LAST_STAGE


def test_the_image_has_the_projects_version_and_a_python_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (python,) = re.findall(r"^ARG PYTHON=(.+)$", DOCKERFILE, re.MULTILINE)
    assert f"Programming Language :: Python :: {python}" in project["classifiers"]
    assert f'image.version="{project["version"]}"' in LAST_STAGE
    assert f"image: interlock:{project['version']}\n" in COMPOSE


def test_what_is_copied_is_there_and_reaches_the_build_and_secrets_do_not() -> None:
    lines = re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE)
    copied = [name for line in lines for name in line.split()[:-1]]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    assert len(copied) > 5
    assert [name for name in copied if not (ROOT / name).exists() or name not in allowed] == []
    assert ignored[1] == "*"
    assert not {"data", ".env", "."} & set(allowed)


def seconds(text: str) -> int:
    """A duration such as `30s`."""
    assert text.endswith("s")
    return int(text[:-1])
