#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Checks the packages of bentos and images for disallowed licences and for vulnerabilities known to PyPI.

scripts/audit.py             fails for a licence that is new, changed or not allowed, and for a known vulnerability
scripts/audit.py --write     regenerates licences.txt; review the difference before committing it

Without access to PyPI, vulnerabilities are reported as NOT AUDITED and the check does not fail.
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
PIP_AUDIT = "pip-audit==2.10.1"  # installed in a temporary environment, because it brings 25 packages
TIMEOUT_SECONDS = 300
FILES = [ROOT / "requirements.bento.txt", ROOT / "requirements.jobs.txt"]
# As the packages state them. All require no more than attribution, except MPL-2.0, whose own files stay open, and the
# LGPL of psycopg, DBOS' way to PostgreSQL, which is a library that stays as it comes and can be replaced.
ALLOWED = {
    *("Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Apache 2.0", "Apache License 2.0", "Apache 2.0 License"),
    *("Apache Software License", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "0BSD"),
    *("3-Clause BSD License", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC License (ISCL)", "MIT", "MIT License"),
    *("MIT-CMU", "Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0", "PSF-2.0", "Python Software Foundation License"),
    *("LGPL-3.0-only",),
    *("Zlib", "dependency licenses"),  # the last is how pypdfium2 states PDFium's: BSD, MIT, Apache and the like
}


def requirements() -> list[Requirement]:
    """All requirements of bentos and images, for any machine, without hashes."""
    text = re.sub(r"( \\)?\n +--hash=\S+", "", "".join(file.read_text() for file in FILES))
    lines = dict.fromkeys(line for line in text.splitlines() if line and not line.startswith("#"))
    return [Requirement(line) for line in lines]


def licence_of(package: Distribution) -> str:
    """The licence as the package states it, preferring the most precise metadata field; "" without any."""
    metadata = package.metadata
    classifiers = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier") or [] if c.startswith("License :: ")]
    phrases = [
        *(metadata.get_all("License-Expression") or []),
        " AND ".join(classifiers),
        *(metadata.get_all("License") or []),
    ]
    return next(filter(None, phrases), "").split("\n")[0]


def installed_licences() -> dict[str, str]:
    """Licences of those that are installed on this machine. Raises PackageNotFoundError."""
    names = [need.name for need in requirements() if need.marker is None or need.marker.evaluate()]
    return {name: licence_of(distribution(name)) for name in names}


def listed_licences() -> dict[str, str]:
    """Licences by package, from licences.txt."""
    pairs = (line.split(maxsplit=1) for line in LICENCES.read_text().splitlines() if not line.startswith("#"))
    return {name: "".join(licence) for name, *licence in pairs}


def licence_faults(found: Mapping[str, str], listed: Mapping[str, str]) -> list[str]:
    """One message for each package whose licence is not allowed, not listed or not the listed one."""
    faults = []
    for name, licence in found.items():
        parts = re.split(r" AND | OR |, ", licence)
        if not set(parts) <= ALLOWED:
            faults.append(f"{name}: licence {licence or 'unknown'} is not allowed")
        elif name not in listed:
            faults.append(f"{name}: not in {LICENCES.name}; its licence is {licence}")
        elif listed[name] != licence:
            faults.append(f"{name}: licence changed from {listed[name]} to {licence}")
    return faults


def query_pypi(folder: Path) -> dict[str, Any]:
    """The report of pip-audit, which is installed into `folder`.

    Raises OSError, CalledProcessError, TimeoutExpired, JSONDecodeError.
    """
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", PIP_AUDIT]
    subprocess.run(install, check=True, timeout=TIMEOUT_SECONDS, capture_output=True)
    pins = folder / "requirements.txt"
    pins.write_text("".join(f"{need}\n" for need in requirements()))
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json", "-r", str(pins)]
    done = subprocess.run([python, "-m", "pip_audit", *options], timeout=TIMEOUT_SECONDS, capture_output=True)
    if not done.stdout:
        raise subprocess.CalledProcessError(done.returncode, "pip-audit", stderr=done.stderr)
    return dict(json.loads(done.stdout))


def evaluate(report: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Lines to print for a report, and whether the check fails."""
    packages = report["dependencies"]
    known = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    audited = len(packages) - len(skipped)
    if not audited:
        return ["NOT AUDITED: the package index reached from here knows none of the packages"], False
    lines = [f"{audited} packages audited, {len(known)} known vulnerabilities", *known]
    if skipped:
        lines.append(f"not audited, unknown to PyPI: {', '.join(skipped)}")
    return lines, bool(known)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="regenerate licences.txt")
    write = parser.parse_args().write
    try:
        found = installed_licences()
    except PackageNotFoundError as error:
        print(f"audit: {error.name} is not installed; run scripts/setup", file=sys.stderr)
        return 1
    if write:
        head = (
            "# Licences of bentos' and images' packages, as they state them. Generated by scripts/audit.py --write.\n"
        )
        LICENCES.write_text(head + "".join(f"{name} {licence}\n" for name, licence in found.items()))
    faults = licence_faults(found, listed_licences())
    for line in faults or [f"the licences of {len(found)} packages are allowed"]:
        print(f"audit: {line}", file=sys.stderr)
    if write or faults:
        return bool(faults)
    with tempfile.TemporaryDirectory() as folder:
        try:
            lines, failed = evaluate(query_pypi(Path(folder)))
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            output = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
            lines, failed = [f"NOT AUDITED: {error}", *output[-1:]], False
    for line in lines:
        print(f"audit: {line}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
