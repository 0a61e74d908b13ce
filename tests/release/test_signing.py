from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ReleaseError
from pipeline.release.signing import content_sha256, open_signer, open_verifier
from pipeline.settings import Settings

CONTENT = {"number": 3, "facts": {"dice": 0.97}, "checks": [1, 2], "by": "Zoë"}


def test_the_key_of_a_host_is_made_once_and_is_its_users_alone(settings: Settings) -> None:
    first, second = open_signer(settings), open_signer(settings)

    file = settings.home / "keys/release.pem"
    assert first.key == second.key
    assert first.trusted == {first.key}
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["release.pem"]


def test_a_signed_document_is_believed_until_anything_of_it_changes(settings: Settings) -> None:
    signer = open_signer(settings)
    document = signer.sign(CONTENT)
    assert signer.problem(document) is None
    changes: list[dict[str, Any]] = [
        {"number": 4},
        {"facts": {"dice": 0.98}},
        {"facts": {"dice": float("nan")}},
        {"checks": [2, 1]},
        {"more": 1},
        {"signature": {**document["signature"], "value": "00" * 64}},
        {"signature": {**document["signature"], "key": "zz"}},
        {"signature": {}},
    ]

    for change in changes:
        assert signer.problem({**document, **change}) == "was changed after it was signed"
    assert signer.problem(CONTENT) == "is not signed"
    assert signer.problem({**CONTENT, "signature": "x"}) == "is not signed"
    assert content_sha256(document) == content_sha256(CONTENT)


def test_another_hosts_key_is_believed_only_when_it_is_listed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_signer(Settings(home=tmp_path / "other"))
    document = other.sign(CONTENT)
    problem = open_signer(settings).problem(document)
    assert problem
    assert f"is signed by an unknown key {other.key[:12]}; if it is one of yours" in problem
    listed = tmp_path / "trusted"
    listed.write_text(f"# our hosts\n\n{other.key} the other one\n")
    monkeypatch.setenv("LUNGSEG_TRUSTED_KEYS", str(listed))

    assert open_signer(settings).problem(document) is None


def test_a_team_shares_the_key_that_the_settings_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "team.pem"
    command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    monkeypatch.setenv("LUNGSEG_SIGNING_KEY", str(key))
    other = Settings(home=tmp_path / "other")

    assert open_signer(settings).problem(open_signer(other).sign(CONTENT)) is None
    assert not (settings.home / "keys").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file or directory; expected an Ed25519 private key"),
        (lambda path: path.write_text("x"), "cannot be read as a key; expected an Ed25519"),
        (
            lambda path: subprocess.run(
                ["openssl", "genpkey", "-algorithm", "x25519", "-out", str(path)], check=True
            ),
            "found another kind of key; expected an Ed25519",
        ),
    ],
)
def test_a_key_that_is_none_is_one_line(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Any,
    message: str,
) -> None:
    key = tmp_path / "team.pem"
    make(key)
    if key.exists():
        key.chmod(0o600)
    monkeypatch.setenv("LUNGSEG_SIGNING_KEY", str(key))

    with pytest.raises(ReleaseError, match=message):
        open_signer(settings)


def test_a_key_that_others_can_read_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_signer(settings)
    (settings.home / "keys/release.pem").chmod(0o644)

    with pytest.raises(ReleaseError, match="readable by others, expected mode 600"):
        open_signer(settings)


@pytest.mark.parametrize("text", [None, "ssh-ed25519 AAAA\n", "00ff\n", "\xff"])
def test_trusted_keys_that_are_none_are_one_line(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    listed = tmp_path / "trusted"
    if text:
        listed.write_bytes(text.encode("latin-1"))
    monkeypatch.setenv("LUNGSEG_TRUSTED_KEYS", str(listed))

    with pytest.raises(ReleaseError, match=r"trusted: .*as `lungseg releases key` prints it"):
        open_signer(settings)


def test_looking_makes_no_key_and_believes_nobody_unless_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_signer(Settings(home=tmp_path / "other"))
    document = other.sign(CONTENT)

    problem = open_verifier(settings).problem(document)

    assert problem
    assert problem.startswith("is signed by an unknown key")
    assert not (settings.home / "keys").exists()
    listed = tmp_path / "trusted"
    listed.write_text(other.key)
    monkeypatch.setenv("LUNGSEG_TRUSTED_KEYS", str(listed))
    assert open_verifier(settings).problem(document) is None
    monkeypatch.setenv("LUNGSEG_SIGNING_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(ReleaseError, match="No such file or directory; expected an Ed25519"):
        open_verifier(settings)
