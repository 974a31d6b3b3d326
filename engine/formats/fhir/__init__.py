"""FHIR in JSON (R4, R5, STU3): resources and Bundles read without changing a digit, named, compared and answered."""

from engine.formats.fhir.facts import FACTS
from engine.formats.fhir.format import Fhir
from engine.formats.fhir.reading import read

__all__ = ["FACTS", "Fhir", "read"]
