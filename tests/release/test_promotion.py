"""Promotion: judged again, killed at every step, raced, lowered, and told apart by its outcome."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from pipeline.errors import OvertakenError, ReleaseError, ServiceError
from pipeline.release import gate as gate_module
from pipeline.release import log_writing
from pipeline.release import promotion as promotion_module
from pipeline.release import release_log as release_log_module
from pipeline.release.evidence import load_evidence
from pipeline.release.gate import run_gate
from pipeline.release.history import list_releases, rollback
from pipeline.release.log_writing import release_lock
from pipeline.release.prediction import predict_again
from pipeline.release.promotion import Promotion, run_promotion
from pipeline.release.registry import CHAMPION, PREVIOUS
from pipeline.release.release_log import ReleaseLog, read_log
from pipeline.release.signing import open_signer
from pipeline.release.verification import verify_releases
from pipeline.settings import Settings
from pipeline.tracking.run_record import RunRecord
from tests.conftest import PROJECT
from tests.release.conftest import deploy
from tests.release.killing import Counted
from tests.release.runs import CLASSES, Run, make_run, release, restore

BETTER = dict.fromkeys(CLASSES, [0.98] * 8)
SLIGHTLY_WORSE = dict.fromkeys(CLASSES, [0.965] * 8)
"""Than the first run: within the margin."""
WORSE = dict.fromkeys(CLASSES, [0.955] * 8)


def slow(*values: Any) -> list[Any]:
    """More of the same, which `make check` leaves out."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


class Killed(BaseException):
    """Ends a promotion where it stands."""


def log_of(settings: Settings, client: MlflowClient) -> ReleaseLog:
    return read_log(client, settings.model_name, open_signer(settings))


def assert_whole(settings: Settings, client: MlflowClient, versions: list[str]) -> None:
    """One champion, one entry for each release, no rest of another, and nothing to complain of."""
    log = log_of(settings, client)
    assert [one.version for one in log.entries] == versions
    assert set(log.versions) == set(versions)
    assert log.aliases[CHAMPION] == versions[-1]
    assert log.settled
    assert verify_releases(settings, client).findings == ()


def counting(run: Run, before: Callable[[int], None]) -> tuple[Run, Counted]:
    record, workspace = run
    counted: Any = Counted(record.client, before)
    return (replace(record, client=counted), workspace), counted


def test_a_release_has_its_evidence_in_the_log_the_version_and_the_run(
    settings: Settings, client: MlflowClient, run: Run
) -> None:
    outcome = release(run)

    log = log_of(settings, client)
    (entry,) = log.entries
    assert entry.record
    facts = entry.record.facts
    assert facts
    assert outcome.event == {
        "record": 1,
        "version": "1",
        "run_id": run[0].run_id,
        "conventions": ["standard"],
        "metrics": dict(outcome.metrics),
    }
    assert facts.tags.items() <= log.versions["1"].tags.items()
    assert sorted(facts.files)[0] == "MLmodel"
    assert len(facts.files) > 10
    low, high = facts.metrics["dice"].interval
    assert low <= facts.metrics["dice"].value <= high
    assert facts.manifest_md5
    assert facts.bounds.deployed_revision
    assert all(check.passed for check in facts.checks)
    description = log.versions["1"].description
    assert description.startswith("# lung-segmentation: lung segmentation on frontal chest")
    for part in (
        "Not a medical device",
        "filters [8, 16, 32, 64]",
        "Known failures",
        "Limits",
        "Provenance",
        "| COVID | 1 |",
    ):
        assert part in description
    assert len(description) <= 5000


def test_the_promotion_again_is_the_same_release(
    settings: Settings, client: MlflowClient, run: Run
) -> None:
    first = release(run)

    again = run_promotion(*run)

    assert again == first
    assert_whole(settings, client, ["1"])


def test_a_release_that_another_followed_is_no_release_when_repeated(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    release(make_run(settings, client, tmp_path / "second", BETTER, b"second"))

    again = run_promotion(*run)

    assert (again.status, again.version) == ("unchanged", "1")
    assert again.reason == "version 1 was released by this run, and version 2 since"
    assert again.event
    assert again.event["version"] == "2"


@pytest.mark.slow
def test_a_model_that_was_rolled_back_from_is_not_released_again(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    release(make_run(settings, client, tmp_path / "second", BETTER, b"second"))
    rollback(settings, client, None, "Ada")

    again = release(make_run(settings, client, tmp_path / "third", BETTER, b"second"))

    assert again.status == "unchanged"
    assert again.reason == (
        "version 2 is this very model, and is not the champion; `lungseg rollback --to 2` makes it "
        "that again"
    )


def writes_of_a_promotion(run: Run, home: Path, tmp_path: Path) -> int:
    """How many writes a promotion consists of; the store is as it was afterwards."""
    keep = tmp_path / "counting"
    shutil.copytree(home, keep)
    counted_run, counted = counting(run, lambda _: None)
    run_promotion(*counted_run)
    restore(keep, home)
    return counted.count


@pytest.mark.slow
def test_a_promotion_that_ends_at_any_write_is_finished_or_undone(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    second = make_run(settings, client, tmp_path / "second", BETTER, b"second")
    run_gate(*second)
    writes = writes_of_a_promotion(second, settings.home, tmp_path)
    before = tmp_path / "before"
    shutil.copytree(settings.home, before)
    kept = []

    for step in range(1, writes + 1):

        def kill(count: int, step: int = step) -> None:
            if count == step:
                raise Killed

        restore(before, settings.home)
        with pytest.raises(Killed):
            run_promotion(*counting(second, kill)[0])
        assert client.get_model_version_by_alias(settings.model_name, CHAMPION)
        outcome = run_promotion(*second)

        log = log_of(settings, client)
        assert outcome.status == "released", step
        assert outcome.event
        assert outcome.event["record"] == 2
        assert set(log.versions) == log.released == {"1", outcome.version}
        assert (log.aliases[CHAMPION], log.aliases[PREVIOUS]) == (outcome.version, "1")
        assert len(log.entries) == 2
        assert log.settled
        assert log.problems == ()
        kept.append(outcome.version)

    assert writes > 10
    assert {"2", "3"} == set(kept)  # finished, or undone and done again


def start_promoter(settings: Settings, run: Run) -> subprocess.Popen[str]:
    """A process that promotes the run each time it is asked."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.release.killing"),
            *(run[0].run_id, str(run[1].folder)),
        ],
        cwd=PROJECT,
        env={
            **os.environ,
            "LUNGSEG_HOME": str(settings.home),
            "LUNGSEG_REPO": settings.repo,
            "MLFLOW_TRACKING_URI": settings.tracking_uri,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(promoter: subprocess.Popen[str], step: int) -> list[str]:
    """Let it promote, killed before the write `step`; the words of its answer."""
    assert promoter.stdin
    assert promoter.stdout
    promoter.stdin.write(f"{step}\n")
    promoter.stdin.flush()
    return promoter.stdout.readline().split()


@pytest.mark.slow
def test_a_promotion_killed_at_any_write_is_finished_or_undone_by_the_next_run(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    second = make_run(settings, client, tmp_path / "second", BETTER, b"second")
    run_gate(*second)
    before = tmp_path / "before"
    shutil.copytree(settings.home, before)
    promoter = start_promoter(settings, second)
    whole = ask(promoter, 0)
    writes = int(whole[-1])
    assert whole[:2] == ["0", "released"]
    assert writes > 10
    for step in range(1, writes + 1):
        restore(before, settings.home)
        assert ask(promoter, step) == ["-9"]
        # The next run to come is another one, of the champion's own model.
        other = run_promotion(*run)
        log = log_of(settings, client)
        assert log.settled
        assert set(log.versions) == log.released
        assert other.event
        assert other.event["version"] == log.aliases[CHAMPION]
        again = run_promotion(*second)
        assert again.status == "released"
        assert again.version
        assert_whole(settings, client, ["1", again.version])
    promoter.communicate()


@pytest.mark.slow
def test_of_two_promotions_at_once_the_better_one_ends_as_champion(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    good = make_run(settings, client, tmp_path / "good", BETTER, b"good")
    worse = make_run(settings, client, tmp_path / "worse", SLIGHTLY_WORSE, b"worse")
    for one in (good, worse):
        run_gate(*one)
    children = [start_promoter(settings, one) for one in (good, worse)]
    for child in children:
        assert child.stdin
        child.stdin.write("0\n")
        child.stdin.flush()
    said = [child.communicate()[0].split()[1] for child in children]

    assert said in (["released", "refused"], ["released", "released"])  # the better one came last
    assert_whole(settings, client, ["1", "2", "3"][: 1 + said.count("released")])
    assert log_of(settings, client).entries[-1].run_id == good[0].run_id


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Another host of the same team, which shares no lock with this one."""
    key = settings.home / "keys/release.pem"
    open_signer(settings)
    team = tmp_path / "team.pem"
    shutil.copy(key, team)
    monkeypatch.setenv("LUNGSEG_SIGNING_KEY", str(team))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    return replace(settings, home=tmp_path / "elsewhere")


def overtaking(slow: Run, fast: Run, at: str) -> tuple[Run, list[Promotion]]:
    """A promotion that another host overtakes when it first calls the client's method `at`."""
    outcomes: list[Promotion] = []
    record, workspace = slow

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            method = getattr(record.client, name)
            if name != at or outcomes:
                return method

            def call(*arguments: Any, **options: Any) -> Any:
                outcomes.append(run_promotion(*fast))
                return method(*arguments, **options)

            return call

    client: Any = Overtaken()
    return (replace(record, client=client), workspace), outcomes


@pytest.mark.parametrize("at", ["create_model_version", *slow("log_text", "set_model_version_tag")])
def test_a_promotion_that_another_host_overtakes_is_judged_against_the_winner(
    settings: Settings,
    client: MlflowClient,
    run: Run,
    tmp_path: Path,
    elsewhere: Settings,
    at: str,
) -> None:
    release(run)
    fast = make_run(settings, client, tmp_path / "fast", BETTER, b"fast")
    slow = make_run(settings, client, tmp_path / "slow", SLIGHTLY_WORSE, b"slow")
    for one in (fast, slow):
        run_gate(*one)
    there = (RunRecord(elsewhere, client, fast[0].run), fast[1])
    overtaken, outcomes = overtaking(slow, there, at)

    late = run_promotion(*overtaken)

    (early,) = outcomes
    assert early.status == "released"
    assert early.version
    assert late.status == "refused"
    assert "dice_vs_champion" in late.reason
    assert_whole(settings, client, ["1", early.version])


def test_a_promotion_that_is_overtaken_again_and_again_gives_up_for_a_retry(
    settings: Settings, client: MlflowClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def overtaken(*_: object) -> None:
        tries.append(1)
        raise OvertakenError("another promotion came first")

    monkeypatch.setattr(promotion_module, "append", overtaken)

    with pytest.raises(OvertakenError, match="another promotion came first"):
        release(run)
    assert len(tries) == 3
    assert log_of(settings, client).champion is None


def test_an_entry_that_another_host_wrote_over_is_no_release(
    settings: Settings, client: MlflowClient, run: Run
) -> None:
    record, workspace = run

    class Lost:
        def __getattr__(self, name: str) -> Any:
            method = getattr(client, name)

            def call(*arguments: Any, **options: Any) -> Any:
                result = method(*arguments, **options)
                if arguments[1:2] == ("release.000001",):
                    line = {"sha256": "theirs", "action": "promote", "from": None, "to": "9"}
                    text = json.dumps({**line, "run_id": record.run_id})
                    client.set_registered_model_tag(settings.model_name, "release.000001", text)
                return result

            return call

    lost: Any = Lost()

    outcome = run_promotion(replace(record, client=lost), workspace)

    assert outcome.status == "refused"
    assert outcome.reason == "failed release_log"
    assert log_of(settings, client).aliases == {}


def test_a_second_promotion_on_this_host_waits_for_the_first(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writing, "PATIENCE_S", 0.1)

    with (
        release_lock(settings),
        pytest.raises(ServiceError, match=r"another promotion or rollback holds it for 0\.1 s"),
    ):
        run_promotion(*run)


def test_a_lowered_bound_refuses_unless_somebody_answers_for_it(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    poor = dict.fromkeys(CLASSES, [0.86] * 8)
    asked = {"min_dice": 0.8, "min_worst_class_dice": 0.8, "max_failures": 1.0, "min_accuracy": 0.9}
    refused = release(make_run(settings, client, tmp_path / "one", poor, b"one", gate=asked))
    assert refused.status == "refused"
    assert "bounds" in refused.reason
    assert log_of(settings, client).champion is None

    second = make_run(settings, client, tmp_path / "two", poor, b"two", gate=asked)
    run_gate(*second, "Ada Lovelace")
    outcome = run_promotion(*second)  # the signed verdict says who answers for it

    versions, moves, _ = list_releases(settings, client)
    assert outcome.status == "released"
    assert "allowed by Ada Lovelace" in versions[0].tags["bounds"]
    assert moves[0].by == "Ada Lovelace"
    assert "min_dice 0.8 instead of 0.9" in moves[0].note
    tags = client.get_run(second[0].run_id).data.tags
    assert "allowed by Ada Lovelace" in tags["gate.bounds"]


def test_the_bounds_of_the_deployed_project_count_at_the_moment_of_promotion(
    settings: Settings, client: MlflowClient, run: Run
) -> None:
    assert run_gate(*run).passed
    deploy(Path(settings.repo), min_dice=0.99)

    outcome = run_promotion(*run)

    assert outcome.status == "refused"
    assert "dice" in outcome.reason


def test_a_dry_run_judges_and_releases_nothing(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    deploy(Path(settings.repo), mode="dry_run")

    outcome = release(run)
    poor = release(make_run(settings, client, tmp_path / "b", {"COVID": [0.7] * 9}, b"poor"))

    assert (outcome.status, outcome.reason) == (
        "unchanged",
        "dry run: it would be released (gate.mode)",
    )
    assert poor.status == "refused"
    assert log_of(settings, client).champion is None
    assert client.get_run(run[0].run_id).data.tags["gate"] == "passed"


def test_an_overwritten_verdict_is_not_believed(
    settings: Settings,
    client: MlflowClient,
    run: Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    release(run)
    bad = make_run(settings, client, tmp_path / "bad", WORSE, b"bad")
    verdict = run_gate(*bad)
    assert not verdict.passed
    forged = {
        **verdict.content,
        "checks": [{**check, "passed": True} for check in verdict.content["checks"]],
    }
    client.log_dict(bad[0].run_id, forged, "gate/verdict.json")

    outcome = run_promotion(*bad)

    assert outcome.status == "refused"
    assert "its gate/verdict.json is not signed, and does not count" in caplog.text
    assert log_of(settings, client).champion == "1"


@pytest.mark.parametrize("text", ['{"checks": 1}', *slow("{", "[]")])
def test_a_verdict_that_cannot_be_read_is_judged_anew(
    client: MlflowClient, run: Run, text: str
) -> None:
    run_gate(*run)
    client.log_text(run[0].run_id, text, "gate/verdict.json")

    assert run_promotion(*run).status == "released"


def test_only_what_was_predicted_by_the_very_files_is_not_predicted_again(
    settings: Settings, client: MlflowClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = []
    predict_again = gate_module.predict_again

    def counted(*arguments: Any) -> Any:
        predicted.append(1)
        return predict_again(*arguments)

    monkeypatch.setattr(gate_module, "predict_again", counted)
    run_gate(*run)
    assert len(predicted) == 1

    outcome = run_promotion(*run)

    assert outcome.status == "released"
    assert len(predicted) == 1


def stored(settings: Settings, name: str) -> Path:
    (file,) = [one for one in settings.home.rglob(name) if "gate" not in one.parts]
    return file


def test_a_model_replaced_between_gate_and_promotion_is_refused(
    settings: Settings, client: MlflowClient, run: Run
) -> None:
    run_gate(*run)
    stored(settings, "model.onnx").write_bytes(b"replaced")

    with pytest.raises(ReleaseError, match="the model folder is not what was recorded"):
        run_promotion(*run)
    assert log_of(settings, client).champion is None


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("metrics.json", "metrics_match_cases"),
        ("per_image.parquet", "files_as_recorded"),
        ("COVID-3.png", "report_overlays"),
        ("index.html", "report_page"),
    ],
)
def test_an_artifact_changed_between_gate_and_promotion_is_refused(
    settings: Settings, client: MlflowClient, run: Run, name: str, check: str
) -> None:
    run_gate(*run)
    file = next(
        one for one in settings.home.rglob(name) if not {"page", "data_docs"} & set(one.parts)
    )
    if name == "metrics.json":
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "dice": 0.99}))
    elif name == "per_image.parquet":
        import pandas as pd

        pd.read_parquet(file)[::-1].to_parquet(file, index=False)
    else:
        file.write_bytes(file.read_bytes()[::-1])

    outcome = run_promotion(*run)

    assert outcome.status == "refused"
    assert check in outcome.reason
    assert log_of(settings, client).champion is None


def change_params(client: MlflowClient, run: Run, folder: Path, **changed: dict[str, Any]) -> None:
    """Replace some of a run's parameters in its record."""
    path = Path(client.download_artifacts(run[0].run_id, "code/params.yaml", str(folder)))
    params = yaml.safe_load(path.read_text())
    for section, values in changed.items():
        params[section] |= values
    path.write_text(yaml.safe_dump(params))
    client.log_artifact(run[0].run_id, str(path), "code")


def test_a_threshold_changed_between_gate_and_promotion_is_refused(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    assert run_gate(*run).passed
    change_params(client, run, tmp_path, evaluate={"threshold": 0.49})

    outcome = run_promotion(*run)

    assert (outcome.status, outcome.reason) == ("refused", "failed predicted_again")


def test_who_answered_for_lowered_bounds_does_not_answer_for_lower_ones(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    poor = dict.fromkeys(CLASSES, [0.86] * 8)
    asked = {"min_dice": 0.8, "min_worst_class_dice": 0.8, "max_failures": 1.0, "min_accuracy": 0.9}
    run = make_run(settings, client, tmp_path / "run", poor, b"run", gate=asked)
    assert run_gate(*run, "Ada Lovelace").passed
    change_params(client, run, tmp_path, gate={"min_dice": 0.1})

    outcome = run_promotion(*run)

    assert outcome.status == "refused"
    assert "bounds" in outcome.reason


def test_scores_that_the_network_does_not_give_are_refused(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    honest = make_run(settings, client, tmp_path / "honest", WORSE, b"weights")
    flattered = make_run(settings, client, tmp_path / "flattered", BETTER, b"weights")
    for kind in ("images", "masks"):  # the data are those on which it is worse
        for name in CLASSES:
            shutil.rmtree(tmp_path / "flattered/data" / name / kind)
            shutil.copytree(
                tmp_path / "honest/data" / name / kind, tmp_path / "flattered/data" / name / kind
            )
    split = honest[0].client.download_artifacts(honest[0].run_id, "split/split.csv", str(tmp_path))
    client.log_artifact(flattered[0].run_id, split, "split")

    verdict = run_gate(*flattered)

    failed = {check.name: check for check in verdict.checks if not check.passed}
    assert "predicted_again" in failed
    assert failed["predicted_again"].found.startswith("0 of 5 (")


@pytest.mark.parametrize(("column", "other"), [("hd95", 9.5), ("ece", 0.0), ("fn", None)])
def test_the_predicted_tenth_has_the_counts_borders_and_calibration_of_the_table(
    settings: Settings, client: MlflowClient, tmp_path: Path, column: str, other: float | None
) -> None:
    run = make_run(settings, client, tmp_path / "first")
    evidence = load_evidence(run[0], tmp_path)
    table = evidence.per_image.copy()
    table[column] = table[column] + 30 if other is None else other
    flattered = replace(evidence, per_image=table)

    honest, found = (predict_again(one, run[1], tmp_path) for one in (evidence, flattered))

    assert (honest.radiographs, honest.differing) == (5, ())
    assert len(found.differing) == 5


def test_the_strips_of_a_report_are_left_where_they_are(run: Run, tmp_path: Path) -> None:
    folder = load_evidence(run[0], tmp_path).report_folder

    assert (folder / "report.json").is_file()
    assert list(folder.glob("overlays/*.png"))
    assert not (folder / "cases").exists()


@pytest.mark.slow
def test_another_input_size_of_the_champion_does_not_matter(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path, params: Any
) -> None:
    import keras

    from pipeline.model.export import export_network
    from pipeline.model.keras_file import save_network
    from pipeline.model.unetpp import build_unetpp

    keras.utils.set_random_seed(0)  # some networks call nothing lung, which no gate lets pass
    network = build_unetpp(64, params.train.model_copy(update={"filters": [2, 4]}))
    save_network(network, tmp_path / "model.keras")
    export_network(network, tmp_path / "model.onnx")
    files = {name: (tmp_path / name).read_bytes() for name in ("model.keras", "model.onnx")}
    large = make_run(settings, client, tmp_path / "large", {"COVID": [0.99] * 9}, files)
    assert release(large).status == "released"

    outcome = release(run)  # another test split: the champion predicts it anew

    checks = {check.name: check for check in run_gate(*run).checks}
    assert outcome.status == "released"
    assert checks["dice_vs_champion"].detail.startswith("version ")
    assert "16 same radiographs" in checks["dice_vs_champion"].detail


@pytest.mark.slow
def test_small_losses_in_a_row_end_at_the_drift_limit(
    settings: Settings, client: MlflowClient, tmp_path: Path
) -> None:
    outcomes = [
        release(
            make_run(
                settings,
                client,
                tmp_path / f"run-{number}",
                dict.fromkeys(CLASSES, [0.99 - 0.009 * number] * 8),
                f"{number}".encode(),
            )
        )
        for number in range(4)
    ]

    assert [one.status for one in outcomes] == ["released", "released", "released", "refused"]
    assert outcomes[-1].reason.startswith("failed dice_vs_best")


@pytest.mark.slow
def test_a_release_that_a_person_left_binds_nobody_any_more(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    release(make_run(settings, client, tmp_path / "high", dict.fromkeys(CLASSES, [1.0] * 8), b"h"))
    rollback(settings, client, None, "Ada")

    outcome = release(make_run(settings, client, tmp_path / "next", BETTER, b"next"))

    assert outcome.status == "released"


def test_a_release_that_a_person_left_twice_binds_nobody_either(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    release(make_run(settings, client, tmp_path / "high", dict.fromkeys(CLASSES, [1.0] * 8), b"h"))
    for _ in range(3):  # to 1, to 2 again, to 1
        rollback(settings, client, None, "Ada")

    outcome = release(make_run(settings, client, tmp_path / "next", BETTER, b"next"))

    assert outcome.status == "released"


def test_a_deleted_champion_still_counts_by_its_scores(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    client.delete_model_version(settings.model_name, "1")

    refused = release(make_run(settings, client, tmp_path / "worse", WORSE, b"worse"))
    released = release(make_run(settings, client, tmp_path / "better", BETTER, b"better"))

    assert refused.status == "refused"
    assert "dice_vs_champion" in refused.reason
    assert released.status == "released"
    entries = log_of(settings, client).entries
    assert [(one.former, one.version) for one in entries] == [(None, "1"), ("1", released.version)]


def test_a_deleted_champion_of_another_test_split_must_be_replaced_by_a_person(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    client.delete_model_version(settings.model_name, "1")
    other = make_run(settings, client, tmp_path / "other", {"COVID": [0.98] * 9}, b"other")

    with pytest.raises(ReleaseError, match=r"version 1 was deleted and has no scores of these"):
        run_gate(*other)


@pytest.mark.parametrize("alias", ["3", *slow("1", None)])
def test_an_alias_moved_by_hand_stops_releases_until_a_person_decides(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path, alias: str | None
) -> None:
    name = settings.model_name
    release(run)
    release(make_run(settings, client, tmp_path / "second", BETTER, b"second"))
    source = client.get_model_version(name, "2").source
    client.create_model_version(name, source)
    if alias:
        client.set_registered_model_alias(name, CHAMPION, alias)
    else:
        client.delete_registered_model_alias(name, CHAMPION)
    third = make_run(
        settings, client, tmp_path / "third", dict.fromkeys(CLASSES, [0.99] * 8), b"third"
    )

    verdict = run_gate(*third)
    outcome = run_promotion(*third)

    assert outcome.reason == "failed champion"
    (check,) = [one for one in verdict.checks if not one.passed]
    moved = f"the alias points to version {alias}" if alias else "the alias was removed"
    assert str(check.value).startswith(f"{moved}, and the log of releases says version 2; go to a")
    assert list_releases(settings, client)[2].kind == "moved"
    rollback(settings, client, "2", "Ada")
    assert run_promotion(*third).status == "released"


def test_an_alias_set_by_hand_before_any_release_stops_releases(
    settings: Settings, client: MlflowClient, run: Run
) -> None:
    name = settings.model_name
    (model,) = client.search_logged_models([run[0].run.info.experiment_id])
    client.create_registered_model(name)
    client.create_model_version(name, f"models:/{model.model_id}")
    client.set_registered_model_alias(name, CHAMPION, "1")

    outcome = release(run)

    assert outcome.reason == "failed champion"


@pytest.mark.slow
def test_a_clock_that_goes_back_does_not_reorder_history(
    settings: Settings,
    client: MlflowClient,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release(run)
    monkeypatch.setattr(release_log_module, "now", lambda: "2001-01-01T00:00:00Z")

    release(make_run(settings, client, tmp_path / "second", BETTER, b"second"))

    _, moves, _ = list_releases(settings, client)
    assert [move.to_version for move in moves] == ["1", "2"]
    assert moves[0].time > moves[1].time
    assert log_of(settings, client).champion == "2"
    assert rollback(settings, client, None, "Ada").to_version == "1"


def test_mlflow_gone_in_the_middle_changes_nothing_and_is_worth_a_retry(
    settings: Settings, client: MlflowClient, run: Run
) -> None:
    from mlflow.exceptions import MlflowException

    from pipeline.tracking.client import connect

    run_gate(*run)

    def gone(count: int) -> None:
        if count > 4:
            raise MlflowException("API request failed with exception: connection refused")

    with (
        pytest.raises(ServiceError, match="does not answer"),
        connect(settings),
    ):
        run_promotion(*counting(run, gone)[0])
    assert log_of(settings, client).champion is None
    assert run_promotion(*run).status == "released"


def test_a_damaged_log_stops_releases_and_rollbacks(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    release(make_run(settings, client, tmp_path / "second", BETTER, b"second"))
    client.delete_registered_model_tag(settings.model_name, "release.000001")

    outcome = release(make_run(settings, client, tmp_path / "third", BETTER, b"third"))

    assert outcome.reason == "failed release_log"
    with pytest.raises(ReleaseError, match=r"entry 1 of the log .* is missing; see `lungseg rel"):
        rollback(settings, client, "1", "Ada")


def test_no_version_is_removed_while_something_is_wrong_with_the_log(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    for name in ("second", "third"):
        release(make_run(settings, client, tmp_path / name, BETTER, name.encode()))
    client.delete_registered_model_tag(settings.model_name, "release.000001")

    with pytest.raises(ReleaseError, match=r"entry 1 of the log .* is missing"):
        rollback(settings, client, "2", "Ada")

    assert set(log_of(settings, client).versions) == {"1", "2", "3"}


def test_a_release_whose_line_was_removed_is_not_taken_for_the_rest_of_a_killed_one(
    settings: Settings, client: MlflowClient, run: Run, tmp_path: Path
) -> None:
    release(run)
    second = make_run(settings, client, tmp_path / "second", BETTER, b"second")
    release(second)
    client.delete_registered_model_tag(settings.model_name, "release.000002")

    outcome = run_promotion(*second)

    assert outcome.reason == "failed champion"
    assert set(log_of(settings, client).versions) == {"1", "2"}
