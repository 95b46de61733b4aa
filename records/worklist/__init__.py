"""What readers do with the worklist: who reads what, saved views, what a row tells, bulk changes.

Which studies are on a list is in `records.workflow.worklist_places`.
"""
