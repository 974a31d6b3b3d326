"""One test a rule of the conversion to FHIR: docs/fhir-rules.md lists them."""
