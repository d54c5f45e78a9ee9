#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Audits the packages that a bento installs: are their licences allowed, and does PyPI know of vulnerabilities?

scripts/audit.py             fails for a licence that is new, changed or not allowed, and for a known vulnerability
scripts/audit.py --write     writes licences.txt anew, for a person to read the difference

Without network the audit of vulnerabilities is reported as not done, and does not fail.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LICENCES = ROOT / "licences.txt"
PIP_AUDIT = "pip-audit==2.10.1"  # in an environment of its own: it brings 25 packages
SECONDS = 300
# As packages themselves say it. None asks for more than to be named, but MPL-2.0: its own files stay open.
ALLOWED = {
    *("Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Apache 2.0", "Apache License 2.0", "Apache 2.0 License"),
    *("Apache Software License", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "0BSD"),
    *("3-Clause BSD License", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC License (ISCL)", "MIT", "MIT License"),
    *("MIT-CMU", "Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0", "PSF-2.0", "Python Software Foundation License"),
    *("Zlib", "dependency licenses"),  # the last is pypdfium2's word for those of PDFium: BSD, MIT, Apache and alike
}


def requirements() -> list[Requirement]:
    """Requirements of a bento, for this machine and others, without sums."""
    text = re.sub(r"( \\)?\n +--hash=\S+", "", (ROOT / "requirements.bento.txt").read_text())
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def licence_of(package: Distribution) -> str:
    """The licence in the package's own words, the clearest that it has."""
    said = package.metadata
    classifiers = [c.split(" :: ")[-1] for c in said.get_all("Classifier") or [] if c.startswith("License :: ")]
    phrases = [*(said.get_all("License-Expression") or []), " AND ".join(classifiers), *(said.get_all("License") or [])]
    return next(filter(None, phrases), "").split("\n")[0]


def installed_licences() -> dict[str, str]:
    """Licences of the packages that a bento installs on this machine. Raises PackageNotFoundError."""
    here = [need.name for need in requirements() if need.marker is None or need.marker.evaluate()]
    return {name: licence_of(distribution(name)) for name in here}


def listed_licences() -> dict[str, str]:
    pairs = (line.split(maxsplit=1) for line in LICENCES.read_text().splitlines() if not line.startswith("#"))
    return {name: "".join(licence) for name, *licence in pairs}


def licence_faults(found: Mapping[str, str], listed: Mapping[str, str]) -> list[str]:
    """Faults of the licences that were found, by package."""
    faults = []
    for name, licence in found.items():
        parts = re.split(r" AND | OR |, ", licence)
        if not set(parts) <= ALLOWED:
            faults.append(f"{name}: its licence, {licence or 'which it does not tell'}, is not among the allowed ones")
        elif name not in listed:
            faults.append(f"{name}: not in {LICENCES.name}; its licence is {licence}")
        elif listed[name] != licence:
            faults.append(f"{name}: its licence was {listed[name]} and is {licence}")
    return faults


def ask(folder: Path) -> dict[str, Any]:
    """pip-audit's report. Raises OSError, CalledProcessError, TimeoutExpired, JSONDecodeError."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", PIP_AUDIT]
    subprocess.run(install, check=True, timeout=SECONDS, capture_output=True)
    pins = folder / "requirements.txt"
    pins.write_text("".join(f"{need}\n" for need in requirements()))
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json", "-r", str(pins)]
    done = subprocess.run([python, "-m", "pip_audit", *options], timeout=SECONDS, capture_output=True)
    if not done.stdout:
        raise subprocess.CalledProcessError(done.returncode, "pip-audit", stderr=done.stderr)
    return dict(json.loads(done.stdout))


def judge(report: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Lines about a report, and whether the gate fails."""
    packages = report["dependencies"]
    known = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    unasked = [package["name"] for package in packages if "skip_reason" in package]
    asked = len(packages) - len(unasked)
    if not asked:
        return ["NOT AUDITED: PyPI, as it is reached from here, knows none of the packages"], False
    lines = [f"{asked} packages audited, {len(known)} known vulnerabilities", *known]
    if unasked:
        lines.append(f"not audited, since PyPI does not know them: {', '.join(unasked)}")
    return lines, bool(known)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write licences.txt")
    write = parser.parse_args().write
    try:
        found = installed_licences()
    except PackageNotFoundError as error:
        print(f"audit: {error.name} is not installed; run scripts/setup", file=sys.stderr)
        return 1
    if write:
        head = "# Licences of what a bento installs, as the packages tell them. Made by scripts/audit.py --write.\n"
        LICENCES.write_text(head + "".join(f"{name} {licence}\n" for name, licence in found.items()))
    faults = licence_faults(found, listed_licences())
    for line in faults or [f"the licences of {len(found)} packages are allowed"]:
        print(f"audit: {line}", file=sys.stderr)
    if write or faults:
        return bool(faults)
    with tempfile.TemporaryDirectory() as folder:
        try:
            lines, shut = judge(ask(Path(folder)))
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
            lines, shut = [f"NOT AUDITED: {error}", *said[-1:]], False
    for line in lines:
        print(f"audit: {line}", file=sys.stderr)
    return shut


if __name__ == "__main__":
    sys.exit(main())
