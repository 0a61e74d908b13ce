from __future__ import annotations

import pytest

from pipeline.deployment.check import LINKS, check_deployment
from pipeline.deployment.links import (
    Link,
    LinkState,
    NotLookedAt,
    Site,
    check_exit_code,
    look_at,
)
from pipeline.errors import DeploymentError, RefusedError, ServiceError
from pipeline.settings import Settings
from tests.test_cli import lungseg as lungseg


def failing(error: Exception) -> Link:
    def look(_: Site) -> str:
        raise error

    return Link("first", frozenset({"gpu"}), look)


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (DeploymentError("two\nlines"), "problem", 1),
        (RefusedError("two\nlines"), "problem", 1),
        (ServiceError("two\nlines"), "no answer", 75),
        (NotLookedAt("two\nlines"), "not looked at", 0),
    ],
)
def test_what_is_wrong_is_one_line_and_what_needs_it_is_not_looked_at(
    settings: Settings, error: Exception, state: str, code: int
) -> None:
    second = Link("second", frozenset({"gpu"}), lambda _: "fine", needs=("first",))

    states = list(look_at(Site(settings, "gpu"), [failing(error), second]))

    assert states == [
        LinkState("first", state, "two lines"),  # type: ignore[arg-type]
        LinkState("second", "not looked at", "needs first"),
    ]
    assert check_exit_code(states) == code


def test_a_role_looks_only_at_what_it_needs(settings: Settings) -> None:
    mine = Link("mine", frozenset({"gpu"}), lambda _: "fine")

    assert [one.state for one in look_at(Site(settings, "gpu"), [mine])] == ["ok"]
    assert list(look_at(Site(settings, "client"), [mine])) == []
    assert [one.state for one in look_at(Site(settings, "all"), [mine])] == ["ok"]


def test_a_problem_outweighs_a_silence() -> None:
    states = [LinkState("a", "no answer", ""), LinkState("b", "problem", "")]

    assert check_exit_code(states) == 1


def test_every_link_is_of_some_role_and_needs_those_before_it() -> None:
    for number, link in enumerate(LINKS):
        assert link.roles
        assert set(link.needs) <= {one.name for one in LINKS[:number]}


def test_a_client_is_told_line_by_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGSEG_AIRFLOW_URL", "http://127.0.0.1:9")

    states = {one.name: one for one in check_deployment(settings, "client")}

    assert states["MLflow"].state == "problem"
    assert "lungseg deploy init" in states["MLflow"].text
    assert states["pools"].text == "needs Airflow"


def test_the_command_refuses_an_unknown_role(
    lungseg: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lungseg("deploy", "check", "--role", "chief") == 1  # type: ignore[operator]
    assert "role 'chief': unknown, expected one of all, control" in capsys.readouterr().err
