"""What a checkout tells DVC: the remotes of the deployment, and the cache that all runs share."""

from __future__ import annotations

from pathlib import Path

from configobj import ConfigObj

from pipeline.errors import WorkspaceError
from pipeline.files import atomic_path
from pipeline.remote_store import PATH_SETTINGS, absolute_path, outer_paths
from pipeline.settings import Settings

DEPLOYMENT = "deployment"
"""What the DVC remote that LUNGSEG_REMOTE names is called."""


def join_cache(settings: Settings, folder: Path) -> None:
    """Write .dvc/config.local: the deployment's own settings, and the cache that all runs share.

    Paths of remotes that lead out of the project lead to where they do from `settings.repo`. Raises
    WorkspaceError when that is no folder, so that the default remote is nowhere. The file may hold
    secrets of a remote, so nobody else may read it, from its first byte.
    """
    source = Path(settings.repo, ".dvc")
    config = ConfigObj(str(source / "config.local")) if source.is_dir() else ConfigObj()
    for section in config.values():
        for setting in set(PATH_SETTINGS) & set(section):
            section[setting] = absolute_path(source, section[setting])
    if settings.remote:
        config.setdefault("core", {})["remote"] = DEPLOYMENT
        config[f'remote "{DEPLOYMENT}"'] = _remote(settings.remote, settings.remote_endpoint)
    _place_remotes(config, source, folder)
    # Links spare the copy; stages replace files whole, so they never write through one.
    config["cache"] = {
        "dir": str(shared_cache(settings)),
        "type": "reflink,hardlink,symlink,copy",
    }
    with atomic_path(folder / ".dvc" / "config.local") as partial:
        partial.touch(mode=0o600)
        with partial.open("wb") as file:
            config.write(file)


def _place_remotes(config: ConfigObj, source: Path, folder: Path) -> None:
    """Add the paths out of the project that the checkout in `folder` has committed."""
    committed = ConfigObj(str(folder / ".dvc" / "config"))
    default = {**committed.get("core", {}), **config.get("core", {})}.get("remote")
    for name, setting, path in outer_paths(folder):
        if setting in config.get(name, {}):
            continue
        if source.is_dir():
            config.setdefault(name, {})[setting] = absolute_path(source, path)
        elif name == f'remote "{default}"':
            raise WorkspaceError(
                f".dvc/config: found {path} as the {setting} of {name}, expected an absolute path "
                "or a URL, because LUNGSEG_REPO is no folder with .dvc; set LUNGSEG_REMOTE, or "
                "commit one of these"
            )


def _remote(url: str, endpoint: str | None) -> dict[str, str]:
    """DVC's settings of the remote; credentials are left to the libraries that look for them."""
    if "://" not in url:
        return {"url": str(Path(url).absolute())}
    if not url.startswith("s3://"):
        return {"url": url}
    quick = {"connect_timeout": "10", "read_timeout": "60"}  # by default a minute each, five times
    return {"url": url, **quick, **({"endpointurl": endpoint} if endpoint else {})}


def shared_cache(settings: Settings) -> Path:
    """Return the DVC cache of the deployed project, or one below the home when that is a URL.

    As for DVC the project's settings count before those of the user and of the machine.
    """
    folder = Path(settings.repo, ".dvc")
    if not folder.is_dir():
        return settings.home / "cache"
    from dvc.dirs import global_config_dir, system_config_dir

    outer = (Path(global_config_dir(), "config"), Path(system_config_dir(), "config"))
    for path in (folder / "config.local", folder / "config", *outer):
        configured = ConfigObj(str(path)).get("cache", {}).get("dir")
        if configured:
            return Path(path.parent, configured).resolve()
    return folder.resolve() / "cache"
