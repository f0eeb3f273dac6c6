"""The installed packages, which are those of requirements*.txt and what they need, beside the known
weaknesses: pip-audit asks the package index's advisory service about each.

    python tests/audit_packages.py      `make audit`

Needs the network: the service of pypi.org (its JSON pages). A mirror that serves files alone has
none; then nothing was audited, and this says so and ends with 2. It ends with 1 where a package has
a known weakness.
"""

from __future__ import annotations

import json
import subprocess
import sys

COMMAND = ["-m", "pip_audit", "--local", "--progress-spinner", "off", "--format", "json"]
MOST_NAMED = 10


def main() -> int:
    """Ask, and say in words what came of it."""
    asked = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"Nothing was audited: the advisory service could not be asked ({last[:300]}).")
        return 2
    return told(packages)


def told(packages: list[dict]) -> int:
    """Print what pip-audit found of the packages; the exit code."""
    known = [one for one in packages if "skip_reason" not in one]
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    if not known:
        print(
            f"Nothing was audited: the advisory service knew none of {len(packages)} packages. The "
            "package index in use has no advisories. Run this where pypi.org itself is reached."
        )
        return 2
    weak = [one for one in known if one["vulns"]]
    for one in weak:
        for found in one["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no version"
            print(f"{one['name']} {one['version']}: {found['id']}, mended in {fixed}")
    print(f"{len(known)} packages audited, {len(weak)} with known weaknesses.")
    if unknown:
        more = " and others" if len(unknown) > MOST_NAMED else ""
        print(f"{len(unknown)} not known to the service: {', '.join(unknown[:MOST_NAMED])}{more}.")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
