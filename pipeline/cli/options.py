"""Options that several verbs take."""

from __future__ import annotations

import json
from typing import Any

import typer

RUN_ID = typer.Option(envvar="LUNGSEG_RUN_ID", help="The run's id; tasks of one run share it.")
REVISION = typer.Option(envvar="LUNGSEG_REVISION", help="Commit, branch or tag to run.")
SET = typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a parameter for this run.")
PARAMS = typer.Option("--params", help="A YAML file of parameters to change for this run.")
FORCE = typer.Option(envvar="LUNGSEG_FORCE", help="Run every stage again, cached or not.")
ALLOW_LOWERED = typer.Option(
    envvar="LUNGSEG_ALLOW_LOWERED",
    metavar="NAME",
    help="Who answers for what the run lowers: bounds of the gate, conventions of the champion.",
)
LOCAL = typer.Option("--local", help="In this process, no services.")


def parse_json(text: str) -> Any:
    """The value that a text of JSON holds; None when it is no JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
