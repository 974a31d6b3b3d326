"""The bench's message: one ORU^R01 of about 1.1 KB with ten results, rendered in about a microsecond.

No two messages of a run are equal: the first value spells the sequence number, so that equal content under a new
control id never looks like a duplicate. The control id is also the filler order number (OBR-3), because that value
survives the conversion to FHIR: a sink finds it in either form with one search for the run's tag.

Everything here is invented; patients belong to the synthetic authority INTERLOCK-TEST and MSH-11 is T.
"""

from __future__ import annotations

from collections.abc import Sequence

AUTHORITY = b"INTERLOCK-TEST"
TAG_LENGTH = 6
NUMBER_LENGTH = 8
START, END = b"\x0b", b"\x1c\r"

#: local code, name, unit, reference range, LOINC code and LOINC name of what the bench's laboratory measures
ANALYTES: Sequence[tuple[str, str, str, str, str, str]] = (
    ("PLTCT", "Platelets", "10*3/uL", "150-400", "777-3", "Platelets [#/volume] in Blood"),
    ("HGB", "Haemoglobin", "g/dL", "12.0-16.0", "718-7", "Hemoglobin [Mass/volume] in Blood"),
    ("HCT", "Haematocrit", "%", "36-46", "4544-3", "Hematocrit [Volume Fraction] of Blood"),
    ("RBC", "Red cells", "10*6/uL", "4.0-5.2", "789-8", "Erythrocytes [#/volume] in Blood"),
    ("WBC", "White cells", "10*3/uL", "4.5-11.0", "6690-2", "Leukocytes [#/volume] in Blood"),
    ("GLU", "Glucose", "mg/dL", "70-99", "2345-7", "Glucose [Mass/volume] in Serum or Plasma"),
    ("BUN", "Urea nitrogen", "mg/dL", "7-20", "3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma"),
    ("CREA", "Creatinine", "mg/dL", "0.6-1.2", "2160-0", "Creatinine [Mass/volume] in Serum or Plasma"),
    ("NA", "Sodium", "mmol/L", "136-145", "2951-2", "Sodium [Moles/volume] in Serum or Plasma"),
    ("K", "Potassium", "mmol/L", "3.5-5.1", "2823-3", "Potassium [Moles/volume] in Serum or Plasma"),
)

_HEAD = (
    r"MSH|^~\&|BENCHLAB|NORTHLAB|BENCHEHR|SOUTHCLINIC|20250611093000+0000||ORU^R01^ORU_R01|%(id)s|T|2.5.1",
    "PID|1||%(patient)s^^^INTERLOCK-TEST^MR||SAMPLE^ROBIN^Q^^MX||19800101|F||2106-3^White^HL70005"
    "|12 EXAMPLE ROAD^^SPRINGFIELD^IL^62701^USA||(555)555-0134",
    "PV1|1|O|CLINIC^101^A||||9001^EXAMPLE^ALEX^A^^DR",
    "OBR|1|PLACER448811|%(id)s|PANEL^Blood panel^L|||20250611080000+0000|||||||||9001^EXAMPLE^ALEX^A^^DR"
    "||||||20250611092500+0000||LAB|F",
)


def new_tag(seed: int) -> bytes:
    """Six characters that no message of another run carries: `QB` and four of base 36."""
    alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return b"QB" + bytes(alphabet[seed // 36**place % 36] for place in range(TAG_LENGTH - 2))


def control_id(tag: bytes, sequence: int) -> bytes:
    """The control id of one message: the run's tag and its place in the run."""
    return b"%s%08d" % (tag, sequence)


def sequence_in(data: bytes, tag: bytes) -> int:
    """The place in the run of the message these bytes carry, in whatever form; -1 where the tag is absent."""
    start = data.find(tag) + TAG_LENGTH
    return int(data[start : start + NUMBER_LENGTH]) if start >= TAG_LENGTH else -1


def template() -> bytes:
    """The framed message with `%`-places, in order: control id, patient, control id, first value."""
    segments = list(_HEAD)
    for number, (code, name, unit, normal, _, _) in enumerate(ANALYTES, 1):
        value = "%(value)s" if number == 1 else f"{7 + number * 0.7:.1f}"
        unit = unit.replace("%", "%%")
        segments.append(f"OBX|{number}|NM|{code}^{name}^L||{value}|{unit}|{normal}|N|||F|||20250611092000+0000")
    places = {"id": "%s", "patient": "%s", "value": "%d.%d"}
    text = "\r".join(segments) + "\r"
    for name, place in places.items():
        text = text.replace(f"%({name})s", place)
    return START + text.encode() + END


def patient(number: int) -> bytes:
    """The synthetic identifier of one patient."""
    return b"P%07d" % number


def table() -> list[tuple[str, str, str, str]]:
    """The rows of the mapping table: local code, code, display, system."""
    return [(code, loinc, name, "http://loinc.org") for code, _, _, _, loinc, name in ANALYTES]
