"""HL7 v2 segments as FHIR resources: one module a resource, one function a segment."""
