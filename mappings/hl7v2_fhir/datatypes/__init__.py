"""HL7 v2 data types as FHIR data types: each function takes the reading and a raw field, and never guesses."""
