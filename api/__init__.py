"""What people and other systems see: REST and the pages. Changes nothing it does not have to."""
