"""HL7 v2 over MLLP: orders, changes of patients and reports come in, acknowledgments go out."""
