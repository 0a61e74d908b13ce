"""Which installed packages modules of ours need, and which come without an extra."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path


def needed_by(modules: list[str]) -> set[str]:
    """The packages of others that our modules among these import."""
    ours = [name for name in modules if name.partition(".")[0] == "pipeline"]
    needed = {one for name in ours for one in imported_by(name)} - {"pipeline"}
    return needed - set(sys.stdlib_module_names)


def distributions(packages: set[str]) -> set[str]:
    """What provides these packages here."""
    provided = importlib.metadata.packages_distributions()
    return {one for name in packages for one in provided[name]}


def imported_by(name: str) -> set[str]:
    """The packages that a module imports when it is imported."""
    spec = importlib.util.find_spec(name)
    assert spec
    assert spec.origin
    found: set[str] = set()
    for node in ast.parse(Path(spec.origin).read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def installed_with(name: str) -> set[str]:
    """A distribution and all that it requires without an extra, as they are called here."""
    found: set[str] = set()
    names = [name]
    while names:
        name = names.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another platform or Python
            continue
        if distribution.name not in found:
            found.add(distribution.name)
            requirements = [one for one in distribution.requires or [] if "extra ==" not in one]
            names += [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in requirements]
    return found
