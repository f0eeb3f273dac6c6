"""The people file, the waits, the sessions, the ways in and the audit log."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_engine.__main__ import build
from lora_engine.access import (
    BackOff,
    PasswordWay,
    PeopleFile,
    Person,
    Proxies,
    ProxyWay,
    Sessions,
    TokenWay,
    acting_as,
    add_person,
    audit,
    read_people,
    record,
    remove_person,
    sessions,
    way_in,
)
from lora_engine.environment import load_settings
from lora_engine.errors import EngineError, InvalidInput

PASSWORD = "correct horse battery"


def test_a_person_is_known_by_their_password_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "people"
    assert add_person(path, "anna", "run", PASSWORD)
    assert add_person(path, "ben", "see", "")
    people = PeopleFile(path)

    assert people.checked("anna", PASSWORD, "::1") == Person("anna", "run", "::1")
    for name, password in [("anna", "wrong"), ("nobody", PASSWORD), ("ben", ""), ("anna", "")]:
        assert people.checked(name, password, "::1") is None
    assert PASSWORD not in path.read_text()
    assert "$argon2id$" in path.read_text()
    assert path.stat().st_mode & 0o077 == 0

    assert not add_person(path, "anna", "see", PASSWORD)  # seen without a restart
    changed = people.checked("anna", PASSWORD, "")
    assert changed is not None
    assert changed.role == "see"
    remove_person(path, "anna")
    assert people.checked("anna", PASSWORD, "") is None


@pytest.mark.parametrize(
    ("name", "role", "password"),
    [
        ("a:b", "run", PASSWORD), ("local", "run", PASSWORD), ("", "run", PASSWORD),
        ("a\nb", "run", PASSWORD), ("anna", "root", PASSWORD), ("anna", "run", "short"),
        ("x" * 65, "run", PASSWORD), ("anna", "run", "x" * 1001),
    ],
)  # fmt: skip
def test_what_is_no_person_is_refused_and_nothing_written(tmp_path, name, role, password) -> None:
    with pytest.raises(EngineError):
        add_person(tmp_path / "people", name, role, password)
    assert not (tmp_path / "people").exists()


@pytest.mark.parametrize(
    "line",
    ["anna", "anna:root:", "anna:run:plain", "anna:run:\nanna:see:", "\xff:run:", "a b:run:"],
)
def test_a_broken_people_file_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "people"
    path.write_bytes(line.encode("latin-1"))
    with pytest.raises(EngineError, match="people"):
        read_people(path)


def test_a_people_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    add_person(tmp_path / "people", "anna", "run", PASSWORD)
    (tmp_path / "people").chmod(0o660)
    with pytest.raises(EngineError, match="chmod 600"):
        read_people(tmp_path / "people")


def test_the_command_adds_lists_and_removes(tmp_path: Path) -> None:
    def people(*arguments: str, said: str = ""):
        given = ["people", *arguments, "--file", str(tmp_path / "people")]
        return CliRunner().invoke(build(), given, input=said)

    assert people("add", "anna", "--role", "run", said=f"{PASSWORD}\n").exit_code == 0
    assert people("add", "ben", "--role", "see", "--no-password").exit_code == 0
    listed = json.loads(people("list", "--json").stdout)
    assert listed == [{"name": "anna", "role": "run"}, {"name": "ben", "role": "see"}]
    assert people("remove", "ben").exit_code == 0
    assert isinstance(people("remove", "ben").exception, EngineError)
    assert isinstance(people("add", "eve", "--role", "run", said="\n").exception, EngineError)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_failures_cost_ever_longer_waits_of_the_name_and_of_the_address() -> None:
    clock = Clock()
    waits = BackOff(clock)
    for _ in range(5):
        assert waits.wait_s("anna", "10.0.0.1") == 0
        waits.failed("anna", "10.0.0.1")
    assert waits.wait_s("anna", "10.0.0.2") == 1  # elsewhere, the same name
    assert waits.wait_s("ben", "10.0.0.1") == 1  # the same place, another name
    assert waits.wait_s("ben", "10.0.0.2") == 0
    clock.now += 1
    assert waits.wait_s("anna", "10.0.0.1") == 0
    waits.failed("anna", "10.0.0.1")
    assert waits.wait_s("anna", "10.0.0.1") == 2
    for _ in range(20):
        waits.failed("anna", "10.0.0.1")
    assert waits.wait_s("anna", "10.0.0.1") == 60
    waits.succeeded("anna", "10.0.0.1")
    assert waits.wait_s("anna", "10.0.0.9") == 0


def test_one_network_of_ipv6_is_one_address_and_the_memory_is_bounded(monkeypatch) -> None:
    waits = BackOff(Clock())
    for last in range(5):
        waits.failed(f"n{last}", f"2001:db8::{last}")
    assert waits.wait_s("x", "2001:db8::ffff") > 0
    assert waits.wait_s("x", "2001:db8:0:1::1") == 0

    monkeypatch.setattr("lora_engine.access.back_off.MAX_KEPT", 10)
    for number in range(100):
        waits.failed(f"name {number}", f"10.0.0.{number}")
    assert len(waits._failures) == 10


def test_a_session_is_of_one_server_and_ends(monkeypatch) -> None:
    here, elsewhere = Sessions(60), Sessions(60)
    text = here.open("anna", "hash")
    assert here.read(text) == "anna"
    assert here.holds(text, "hash")
    assert not here.holds(text, "another hash")
    assert elsewhere.read(text) is None
    assert here.read(text.replace("eyJ", "eyK", 1)) is None
    assert here.read("") is None
    other = here.open("anna", "hash")
    here.end(text)
    assert here.read(text) is None
    assert here.read(other) == "anna"
    here.lifetime_s = -1
    assert here.read(other) is None
    monkeypatch.setattr(sessions, "MAX_ENDED", 2)
    here.lifetime_s = 60
    for _ in range(5):
        here.end(here.open("anna", "hash"))
    assert len(here._ended) == 2


def _settings(tmp_path: Path, **given: str):
    return load_settings({"LORA_DATA_DIR": str(tmp_path), **given})


def test_on_loopback_nobody_is_asked_and_elsewhere_everybody(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    for host in ("127.0.0.1", "127.8.9.1", "localhost", "::1"):
        assert way_in(settings, host) is None
    tokens = set()
    for host in ("0.0.0.0", "::", "", "192.168.1.5", "lab.example", "127.0.0.1.evil.example"):
        way = way_in(settings, host)
        assert isinstance(way, TokenWay)
        assert way.is_made
        assert len(way.token) >= 32
        tokens.add(way.token)
        assert way.token not in repr(way)
    assert len(tokens) == 6


def test_what_is_configured_holds_on_loopback_too(tmp_path: Path) -> None:
    add_person(tmp_path / "people", "anna", "manage", PASSWORD)
    people = str(tmp_path / "people")
    ways: list[tuple[dict[str, str], Callable[[object], bool]]] = [
        ({"LORA_TOKEN": "x" * 16}, lambda way: isinstance(way, TokenWay) and not way.is_made),
        ({"LORA_PASSWORD_FILE": people}, lambda way: isinstance(way, PasswordWay)),
        ({"LORA_PROXY_USER_HEADER": "X-User"}, lambda way: isinstance(way, ProxyWay)),
    ]
    for given, is_right in ways:
        assert is_right(way_in(_settings(tmp_path, **given), "127.0.0.1"))


@pytest.mark.parametrize(
    "given",
    [
        {"LORA_PASSWORD_FILE": "missing"},
        {"LORA_PASSWORD_FILE": "nobody"},
        {"LORA_PROXY_USER_HEADER": "Cookie"},
        {"LORA_PROXY_USER_HEADER": "X-User", "LORA_TRUSTED_PROXIES": ","},
    ],
)
def test_what_cannot_be_made_safe_does_not_start(tmp_path, monkeypatch, given) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nobody").write_text("ben:see:\n")
    with pytest.raises(EngineError):
        way_in(_settings(tmp_path, **given), "0.0.0.0")


@pytest.mark.parametrize("named", ["0.0.0.0/0", "::/0", "proxy.example", "10.0.0.1/8"])
def test_no_proxy_is_everybody(named: str) -> None:
    with pytest.raises(EngineError):
        Proxies([named])


def test_a_short_token_is_refused_and_not_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        _settings(tmp_path, LORA_TOKEN="hunter2")
    assert "hunter2" not in str(caught.value)
    assert "LORA_TOKEN" in str(caught.value)


@pytest.mark.parametrize(
    ("client", "forwarded", "origin"),
    [
        ("203.0.113.9", "10.9.9.9", "203.0.113.9"),  # no proxy of ours says so
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.7", "203.0.113.9"),  # the first was made up
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9"),
    ],
)
def test_where_a_request_began_is_what_trusted_proxies_say(client, forwarded, origin) -> None:
    assert Proxies(["127.0.0.1", "10.0.0.0/8"]).origin(client, forwarded) == origin


def test_the_audit_log_says_who_did_what_and_stays_small(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(audit, "MAX_BYTES", 2_000)
    with acting_as(Person("anna", "run", "10.0.0.1")):
        record(tmp_path, "start", "run-1\nnext line")
    (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
    said = json.loads(line)
    assert said.pop("time").startswith("20")
    assert said == {
        "person": "anna", "address": "10.0.0.1", "action": "start", "object": "run-1\nnext line",
    }  # fmt: skip

    threads = [
        threading.Thread(target=lambda: [record(tmp_path, "start", "x" * 900) for _ in range(20)])
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("audit.jsonl", "audit.jsonl.1"):
        content = (tmp_path / name).read_bytes()
        assert 0 < len(content) <= 2_000
        assert all(json.loads(line)["action"] == "start" for line in content.splitlines())


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("")
    record(tmp_path / "file", "cancel", "run-1")
    assert "run-1" in caplog.text
