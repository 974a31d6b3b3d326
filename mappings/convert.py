"""Convert files and folders of messages: one report a message, and never a stop at a bad one.

It is what `interlock convert` runs, without a command line: a generator of reports that a caller may watch, write and
stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mappings.fhir_hl7v2
import mappings.hl7v2
import mappings.hl7v2_fhir
from engine.errors import InterlockError, Unreadable
from engine.formats.fhir import Fhir
from engine.formats.hl7v2 import Hl7v2, Message, read, split_batch
from engine.model import Converted, Finding
from engine.ports import Conversion, Converter, Tables
from engine.wiring import MapRule
from mappings.hl7v2_fhir.coverage import coverage
from mappings.rules import apply_maps

SUFFIXES = frozenset({".hl7", ".txt", ".dat", ".msg", ".oru", ".adt", ".er7", ".v2", ""})
"""Files of a folder that are tried; a file that is named is tried whatever it is called."""

CONVERTERS: dict[str, Converter] = {
    "fhir": mappings.hl7v2_fhir.transaction,
    "hl7v2": mappings.hl7v2.forward,
}
"""What HL7 v2 can be converted to."""

FROM_FHIR: dict[str, Converter] = {"hl7v2": mappings.fhir_hl7v2.message}
"""What FHIR can be converted to."""

FHIR_SUFFIXES = frozenset({".json", ".ndjson"})
"""Files of a folder that are tried, too, where FHIR can be converted to what is asked for."""

SUFFIX_OF = {"fhir": ".json", "hl7v2": ".hl7"}
"""What an output file's name ends with."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one message. `index` counts the messages of its file from 1; `payload` is what came out."""

    path: Path
    index: int
    ok: bool
    payload: bytes = b""
    resources: dict[str, int] = field(default_factory=dict)
    unmapped: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    error: str = ""
    fields: dict[str, object] = field(default_factory=dict)

    def line(self) -> dict[str, object]:
        """The report as one line of JSON would say it: no values but the codes that a table lacks."""
        return {
            "path": str(self.path) if self.index == 1 else f"{self.path}#{self.index}",
            "ok": self.ok,
            "resources": self.resources,
            "unmapped": [{"where": f.where, "code": f.subject, "table": f.table} for f in self.unmapped],
            "warnings": [{"where": f.where, "code": f.code, "text": f.text} for f in self.warnings],
            "error": self.error,
            **({"fields": self.fields} if self.fields else {}),
        }


Progress = Callable[[Path], None]
"""Called with each file that is done."""


def convert_file(
    path: Path, to: str, tables: Tables, context: Conversion, rules: Sequence[MapRule] = ()
) -> Iterator[Report]:
    """Convert every message of one file, which may be a batch, after its maps. Never raises for what is in the file."""
    try:
        raws = _split(path.read_bytes())
    except OSError as error:
        yield _failed(path, 1, f"unreadable_file: {error.strerror}")
        return
    except InterlockError as error:
        yield _failed(path, 1, _said(error))
        return
    for index, raw in enumerate(raws, 1):
        yield _convert(path, index, raw, to, tables, context, rules)


def convert_folder(
    folder: Path,
    to: str,
    tables: Tables,
    context: Conversion,
    progress: Progress | None = None,
    rules: Sequence[MapRule] = (),
) -> Iterator[Report]:
    """Convert every message file below a folder, in the order of their paths."""
    for path in message_files(folder, to):
        yield from convert_file(path, to, tables, context, rules)
        if progress is not None:
            progress(path)


def message_files(folder: Path, to: str = "") -> list[Path]:
    """The files below a folder that may hold messages to convert, by suffix; hidden ones are left out."""
    suffixes = SUFFIXES | FHIR_SUFFIXES if to in FROM_FHIR else SUFFIXES
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def _convert(
    path: Path,
    index: int,
    raw: bytes,
    to: str,
    tables: Tables,
    context: Conversion,
    rules: Sequence[MapRule],
) -> Report:
    try:
        if Fhir().sniff(raw):
            return _converted(path, index, _from_fhir(raw, to, tables, context))
        message, findings, _ = apply_maps(_parsed(raw), rules, tables, context.received_at)
        converted = CONVERTERS[to](message, tables, context)
    except InterlockError as error:
        return _failed(path, index, _said(error))
    except Exception as error:  # one message must not end a folder; the type says enough without its values
        return _failed(path, index, f"converter_failed: {type(error).__name__}")
    fields = coverage(message).line() if to == "fhir" else {}
    return _converted(path, index, converted, findings, fields)


def _converted(
    path: Path,
    index: int,
    converted: Converted,
    findings: tuple[Finding, ...] = (),
    fields: dict[str, object] | None = None,
) -> Report:
    findings += converted.findings
    unmapped = tuple(finding for finding in findings if finding.code == "unmapped")
    warnings = tuple(finding for finding in findings if finding.code != "unmapped")
    resources = dict(converted.resources)
    return Report(path, index, True, converted.payload, resources, unmapped, warnings, fields=fields or {})


def _split(raw: bytes) -> list[bytes]:
    fhir = Fhir()
    return fhir.split(raw) if fhir.sniff(raw) else split_batch(raw)


def _from_fhir(raw: bytes, to: str, tables: Tables, context: Conversion) -> Converted:
    if to not in FROM_FHIR:
        raise Unreadable("the file is FHIR already", code="not_hl7v2", where="resourceType")
    return FROM_FHIR[to](Fhir().read(raw), tables, context)


def _parsed(raw: bytes) -> Message:
    if not Hl7v2().sniff(raw):
        raise Unreadable("the file is not HL7 v2", code="not_hl7v2", where="MSH", advice="Name its format with --from.")
    return read(raw)


def _said(error: InterlockError) -> str:
    where = f" ({error.where})" if error.where else ""
    return f"{error.code}: {error.text}{where}"


def _failed(path: Path, index: int, error: str) -> Report:
    return Report(path, index, False, error=error)
