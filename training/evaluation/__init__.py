"""How good a bundle is: drafts of held-out studies, their scores, floors, and the report."""
