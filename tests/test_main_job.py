"""The main job on a small synthetic dataset, with real git, DVC, MLflow and Airflow."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from pipeline.deployment.check import check_deployment
from pipeline.deployment.initialise import initialise
from pipeline.params_file import check_override, override, read_assignments
from pipeline.services import airflow, airflow_home
from pipeline.services import control as services
from pipeline.services.daemon import alive, descendants
from pipeline.settings import Settings, child_environment
from tests.conftest import free_port, git, open_to_others
from tests.projects import QUICK, make_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def changes(overrides: Mapping[str, Any]) -> list[str]:
    """The flags of a quick retraining in which these, such as `train__seed`, are other."""
    assignments = {**QUICK, **{key.replace("__", "."): v for key, v in overrides.items()}}
    return [f"--set={key}={value}" for key, value in assignments.items()]


@dataclass(frozen=True)
class Site:
    """A clone of the project with a dataset of its own and services on free ports."""

    folder: Path
    settings: Settings
    environment: dict[str, str]

    def lungseg(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["lungseg", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )

    def retrain(self, *flags: str, **overrides: Any) -> subprocess.CompletedProcess[str]:
        return self.lungseg("retrain", *changes(overrides), *flags)

    def start_retraining(self, *flags: str, **overrides: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["lungseg", "retrain", *changes(overrides), *flags],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def mlflow(self, path: str, **body: Any) -> Any:
        url = f"{self.settings.tracking_uri}/api/2.0/mlflow/{path}"
        answer = httpx.post(url, json=body) if body else httpx.get(url)
        return answer.raise_for_status().json()

    def newest_run(self) -> dict[str, Any]:
        name = self.settings.experiment
        experiment = self.mlflow(f"experiments/get-by-name?experiment_name={name}")["experiment"]
        found = self.mlflow("runs/search", experiment_ids=[experiment["experiment_id"]])
        return found["runs"][0]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site") / "project"
    bounds = [f"{key}={value}" for key, value in QUICK.items() if key.startswith("gate.")]
    make_project(folder, bounds)
    environment = child_environment(
        MLFLOW_TRACKING_URI="",
        LUNGSEG_AIRFLOW_URL="",
        LUNGSEG_HOME=str(folder / ".lungseg"),
        LUNGSEG_REPO=str(folder),
        LUNGSEG_MLFLOW_PORT=str(free_port()),
        LUNGSEG_AIRFLOW_PORT=str(free_port()),
    )
    settings = Settings(
        repo=str(folder),
        home=folder / ".lungseg",
        mlflow_port=int(environment["LUNGSEG_MLFLOW_PORT"]),
        airflow_port=int(environment["LUNGSEG_AIRFLOW_PORT"]),
    )
    made = Site(folder, settings, environment)
    started = made.lungseg("up")
    assert started.returncode == 0, started.stderr
    assert airflow_home.password(settings) not in started.stdout + started.stderr
    yield made
    made.lungseg("down")


@pytest.fixture(scope="module")
def first(site: Site) -> subprocess.CompletedProcess[str]:
    return site.retrain()


def test_the_main_job_ends_with_a_released_model(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    assert "released: version 1" in first.stdout
    champion = site.mlflow("registered-models/alias?name=lung-segmentation&alias=champion")
    tags = {tag["key"]: tag["value"] for tag in champion["model_version"]["tags"]}
    assert champion["model_version"]["version"] == "1"
    assert tags["revision"] == git(site.folder, "rev-parse", "HEAD")
    assert float(tags["dice"]) > 0.05


def test_the_mlflow_run_holds_what_a_person_compares(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    run = site.newest_run()
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    params = {param["key"]: param["value"] for param in run["data"]["params"]}
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    dataset = run["inputs"]["dataset_inputs"][0]["dataset"]
    listing = site.mlflow(f"artifacts/list?run_id={run['info']['run_id']}")["files"]
    curve = site.mlflow(
        f"metrics/get-history?run_id={run['info']['run_id']}&metric_key=val_loss",
    )["metrics"]

    assert run["info"]["status"] == "FINISHED"
    named = {f"test/{name}" for name in ("dice", "pooled/dice", "classes/COVID/dice", "accuracy")}
    assert named <= metrics.keys()
    assert any(name.startswith("system/") for name in metrics)
    tasks = ("validate", "split", "augment", "train", "evaluate", "report", "gate", "promote")
    assert all(metrics[f"cost/{name}.seconds"] > 0 for name in tasks)
    assert metrics["cost/gpus"] >= 0
    assert tags["lungseg.host.train"] == socket.gethostname()
    assert params["train.epochs"] == "3"
    assert [point["step"] for point in curve] == [1, 2, 3]
    assert dataset["digest"] in (site.folder / "data.dvc").read_text()
    assert {"code", "dvc.lock", "evaluate", "gate", "report", "split", "train", "validate"} <= {
        file["path"] for file in listing
    }
    assert tags["gate"] == "passed"
    assert {tags[f"lungseg.stage.{name}"] for name in ("validate", "train", "report")} == {"ran"}


def test_the_release_is_an_asset_event(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    with airflow.log_in(site.settings) as client:
        events = client.asset_events()

    assert len(events) == 1
    assert events[0]["name"] == "lung-segmentation"
    assert events[0]["extra"]["version"] == "1"
    assert events[0]["extra"]["record"] == 1
    assert events[0]["extra"]["metrics"]["dice"] > 0.05
    assert events[0]["extra"]["run_id"] == site.newest_run()["info"]["run_id"]


def test_dvc_repro_by_hand_finds_every_stage_cached(
    site: Site,
    first: subprocess.CompletedProcess[str],
    tmp_path: Path,
) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(site.folder), str(clone))
    (clone / ".dvc/config.local").write_text(f"[cache]\n    dir = {site.folder}/.dvc/cache\n")
    quick = [f"--set={key}={value}" for key, value in QUICK.items()]
    code = "import sys; from pathlib import Path; from pipeline.params_file import override\n"
    code += "override(Path('params.yaml'), [one[6:] for one in sys.argv[1:]])"
    subprocess.run(["python", "-c", code, *quick], cwd=clone, env=site.environment, check=True)

    def dvc(*command: str) -> str:
        env = {**site.environment, "LUNGSEG_HOME": str(clone / ".lungseg")}  # as without it
        done = subprocess.run(["dvc", *command], cwd=clone, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    unchanged = dvc("repro", "--pull")
    text = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(text.replace("epochs: 3", "epochs: 2"))
    changed = dvc("repro", "--pull", "train")
    left = json.loads(dvc("status", "--json"))

    assert "Running stage" not in unchanged
    assert unchanged.count("is cached - skipping run") == 6
    assert [line for line in changed.splitlines() if line.startswith("Running stage")] == [
        "Running stage 'train':"
    ]
    assert set(left) == {"evaluate", "report"}


def test_the_same_again_is_cached_and_not_released_twice(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    again = site.retrain()

    assert again.returncode == 0, again.stdout + again.stderr
    assert "unchanged: version 1 is this very model" in again.stdout
    assert [line for line in again.stdout.splitlines() if ": ran" in line] == []
    metrics = {metric["key"] for metric in site.newest_run()["data"]["metrics"]}
    assert {"test/dice", "val_loss", "train_loss"} <= metrics


def test_a_candidate_that_is_refused_for_its_score_and_a_lowered_bound_changes_nothing(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    refused = site.retrain(gate__min_dice=0.999, gate__min_accuracy=0.1)

    registered = site.mlflow("registered-models/alias?name=lung-segmentation&alias=champion")
    run = refused.stdout.splitlines()[0].removeprefix("run ")
    with airflow.log_in(site.settings) as client:
        assert client.tasks("retrain", run)["promote"].state == "skipped"
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "refused by the gate" in refused.stdout
    assert "dice" in refused.stdout
    assert "lowered: min_accuracy 0.1 instead of 0.2 (allowed by nobody)" in refused.stdout
    assert registered["model_version"]["version"] == "1"
    versions = site.mlflow("model-versions/search?filter=name%3D'lung-segmentation'")
    assert len(versions["model_versions"]) == 1
    tags = {tag["key"]: tag["value"] for tag in site.newest_run()["data"]["tags"]}
    assert tags["gate"] == "refused"
    assert "dice" in tags["gate.reasons"]


def test_the_champion_predicts_and_a_bad_image_is_reported(
    site: Site,
    first: subprocess.CompletedProcess[str],
    tmp_path: Path,
) -> None:
    radiograph = site.folder / "data/COVID/images/COVID-1.png"
    picture = Image.open(radiograph).resize((500, 420))
    picture.save(tmp_path / "large.png")
    (tmp_path / "bad.png").write_text("<html>")

    done = site.lungseg(
        "predict",
        str(tmp_path / "bad.png"),
        str(tmp_path / "large.png"),
        f"--out={tmp_path / 'out'}",
    )

    assert done.returncode == 1
    assert "1 radiographs have no mask; first: " in done.stderr
    with (tmp_path / "out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    mask = np.asarray(Image.open(tmp_path / "out/large.png"))
    assert mask.shape == (420, 500)
    assert set(np.unique(mask)) <= {0, 255}
    assert "not_an_image" in rows[0]["error"] or "no PNG" in rows[0]["error"]
    assert float(rows[1]["lung_area"]) == pytest.approx((mask > 0).mean(), abs=1e-3)
    assert 0.5 <= float(rows[1]["mean_confidence"]) <= 1


def test_a_run_that_fails_is_failed_in_mlflow_too(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    done = site.retrain(validate__min_pairs_per_class=1000)

    run = site.newest_run()
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert done.returncode == 1
    assert "failed: validate: error: " in done.stdout
    assert run["info"]["status"] == "FAILED"
    assert "1000" in tags["lungseg.failure"]


def test_an_alias_removed_by_hand_is_found_and_put_back(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    assert site.lungseg("releases", "verify").returncode == 0
    alias = {"name": "lung-segmentation", "alias": "champion"}
    url = f"{site.settings.tracking_uri}/api/2.0/mlflow/registered-models/alias"
    httpx.request("DELETE", url, json=alias).raise_for_status()

    found = site.lungseg("releases", "verify")
    back = site.lungseg("rollback", "--to", "1", "--by", "Ada")

    assert found.returncode == 1
    assert "the alias was removed" in found.stdout
    assert back.returncode == 0, back.stderr
    assert site.lungseg("releases", "verify").returncode == 0
    assert "Ada" in site.lungseg("releases").stdout


def test_mlflow_answers_only_to_names_that_it_knows(site: Site) -> None:
    url = f"{site.settings.tracking_uri}/api/2.0/mlflow/experiments/search?max_results=1"

    codes = [
        httpx.get(url, headers={"Host": host}).status_code
        for host in (f"127.0.0.1:{site.settings.mlflow_port}", "mlflow:5000", "attacker.example")
    ]

    assert codes == [200, 200, 403]


def test_the_doctor_finds_them_well_and_names_a_pool_that_is_missing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "LUNGSEG_AIRFLOW_URL", "LUNGSEG_AIRFLOW_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    made = list(initialise(site.settings, 1))
    states = {one.name: one for one in check_deployment(site.settings, "all")}
    with airflow.log_in(site.settings) as client:
        client._ask("DELETE", "pools/release")
    broken = {one.name: one for one in check_deployment(site.settings, "control")}
    again = list(initialise(site.settings, 1))

    assert made[:2] == ["pool gpu: was there, 1 slots", "pool release: was there, 1 slots"]
    assert {one for one in states.values() if one.state in ("problem", "no answer")} == set()
    looked_at = {name for name, one in states.items() if one.state == "ok"}
    assert looked_at >= {"git", "MLflow", "Airflow", "Airflow's parts", "DAGs", "pools", "clock"}
    assert broken["pools"].text.startswith("no pool release, for which tasks would wait for ever")
    assert again[1] == "pool release: made, 1 slots"


def kill_training(folder: Path, patience: float) -> None:
    """Send SIGKILL to the training of a run below `folder` as soon as there is one."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["cmdline", "cwd"]):
            command = process.info["cmdline"] or []
            inside = (process.info["cwd"] or "").startswith(str(folder))
            if inside and command[-3:] == ["pipeline", "stage", "train"]:
                os.kill(process.pid, signal.SIGKILL)
                return
        time.sleep(0.1)
    pytest.fail("no training was seen")


def test_a_killed_training_is_retried_and_a_person_approves_on_a_page_of_airflow(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    override(site.folder / "params.yaml", ["gate.approval=required"])
    git(site.folder, "commit", "--quiet", "--all", "--message=Ask a person")
    with airflow.log_in(site.settings) as client:
        deadline = time.monotonic() + 120
        while "approve" not in client.order("retrain"):
            assert time.monotonic() < deadline
            time.sleep(1)

        allowed = "--allow-lowered=Ada Lovelace"
        with site.start_retraining(allowed, train__seed=9, gate__min_dice=0.01) as following:
            kill_training(site.folder, patience=180)
            shown, _ = following.communicate()

        page = next(line for line in shown.splitlines() if "/required_actions" in line)
        run = page.partition("/runs/")[2].partition("/")[0]
        path = f"dags/retrain/dagRuns/{quote(run)}/taskInstances/approve/-1/hitlDetails"
        question = client._json("GET", path)
        time.sleep(3)  # until the scheduler has noted that the task waits
        answer = {"chosen_options": ["Approve"], "params_input": {"comment": "looked at all"}}
        client._json("PATCH", path, json=answer)
        while client.state("retrain", run) not in ("success", "failed"):
            time.sleep(1)
        events = client.asset_events()

    assert following.returncode == 3, shown
    assert "train: retry" in shown
    assert "| dice |" in question["body"]
    picture = question["body"].partition("](")[2].partition(")")[0]
    assert httpx.get(picture).headers["content-type"] == "image/png"
    version = site.mlflow("registered-models/alias?name=lung-segmentation&alias=champion")
    tags = {tag["key"]: tag["value"] for tag in version["model_version"]["tags"]}
    newest = site.newest_run()
    bounds = {tag["key"]: tag["value"] for tag in newest["data"]["tags"]}["gate.bounds"]
    assert tags["approved_by"] == "admin"
    assert "(allowed by Ada Lovelace (run started by admin))" in bounds
    assert events[-1]["extra"]["version"] == version["model_version"]["version"]
    assert newest["info"]["status"] == "FINISHED"
    assert site.lungseg("releases", "verify").returncode == 0


def test_releases_and_rollback_tell_what_they_know(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    listed = site.lungseg("releases")
    back = site.lungseg("rollback", "--to", "1", "--by", "Ada")
    same = site.lungseg("rollback", "--to", "1")
    never = site.lungseg("rollback", "--to", "7")

    assert "champion" in listed.stdout
    assert "promote" in listed.stdout
    assert back.returncode == 0, back.stderr
    assert back.stdout.startswith("lung-segmentation: champion is version 1, was ")
    assert "version 1 is the champion already" in same.stderr
    assert "version 7 is not there; see `lungseg releases`" in never.stderr


def test_uncommitted_changes_are_not_silently_left_out(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    params = site.folder / "params.yaml"
    text = params.read_text()
    params.write_text(text + "\n")
    try:
        done = site.retrain()
    finally:
        params.write_text(text)

    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml: changed and not committed")


def test_a_search_ends_with_its_trials_below_one_run_and_a_preset(
    site: Site,
    first: subprocess.CompletedProcess[str],
    tmp_path: Path,
) -> None:
    file, preset = tmp_path / "search.yaml", tmp_path / "best.yaml"
    rates = "{low: 0.001, high: 0.1, log: true}"
    file.write_text(
        "method: tpe\ntrials: 2\nseed: 1\ngoal: best_val_dice\n"
        f"space:\n  train.learning_rate: {rates}\n  train.batch_size: [4, 8]\n"
    )
    flags = [f"--set={key}={value}" for key, value in {**QUICK, "train.epochs": 1}.items()]

    done = site.lungseg("search", str(file), f"--out={preset}", *flags)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "best: trial " in done.stdout
    name = f"{site.settings.experiment}-search"
    experiment = site.mlflow(f"experiments/get-by-name?experiment_name={name}")["experiment"]
    runs = site.mlflow("runs/search", experiment_ids=[experiment["experiment_id"]])["runs"]
    tags = {
        run["info"]["run_id"]: {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
        for run in runs
    }
    (parent,) = [run for run in tags if "mlflow.parentRunId" not in tags[run]]
    children = [run for run in tags if tags[run].get("mlflow.parentRunId") == parent]
    listing = site.mlflow(f"artifacts/list?run_id={parent}")["files"]
    assert [run["info"]["status"] for run in runs] == ["FINISHED"] * 3
    assert len(children) == 2
    assert all("lungseg.stage.evaluate" not in tags[run] for run in tags)
    assert {"preset.yaml", "search.yaml", "dvc.lock"} <= {file["path"] for file in listing}
    content = check_override(site.folder / "params.yaml", read_assignments(preset))
    assert content["train"]["epochs"] == 1
    assert 0.001 <= content["train"]["learning_rate"] <= 0.1


def test_all_that_services_and_runs_left_is_the_users_alone(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    home = site.settings.home
    radiograph = next(home.glob("runs/*/data/COVID/images/*.png"))

    assert open_to_others(home) == []
    assert radiograph.stat().st_nlink > 1  # a link into DVC's cache, not a copy
    assert {path.name for path in home.rglob("*.db")} == {"mlflow.db", "airflow.db"}


def test_a_second_up_reuses_what_runs_and_the_password_is_in_its_file_and_nowhere_else(
    site: Site,
    first: subprocess.CompletedProcess[str],
) -> None:
    password = airflow_home.password(site.settings)
    where = airflow_home.folder(site.settings) / "passwords.json"
    before = [row.pid for row in services.status(site.settings)]
    again = site.lungseg("up")
    rows = services.status(site.settings)
    shown = [first, again, site.lungseg("status")]
    files = [path for path in site.settings.home.rglob("*") if path.is_file()]

    assert {row.state for row in rows} <= {"running", "starting"}
    assert [row.pid for row in rows] == before
    assert "everything runs already" in again.stdout + again.stderr
    assert all(f"password in {where}" in done.stdout for done in shown)
    assert not [done for done in shown if password in done.stdout + done.stderr]
    assert [path for path in files if password.encode() in path.read_bytes()] == [where]


def session_of(process: psutil.Process) -> int | None:
    """None of a process that has ended: the list has those of everybody on this machine."""
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def test_down_leaves_no_process(site: Site) -> None:
    running = descendants(site.settings.home)
    assert len(running) > 4

    services.down(site.settings)

    assert descendants(site.settings.home) == []
    sessions = {process.pid for process in running}
    assert [p for p in psutil.process_iter() if session_of(p) in sessions and alive(p)] == []
    assert {row.state for row in services.status(site.settings)} == {"stopped"}
