"""How long things are kept: rules, removal, the disk, and the erasure of a patient."""
