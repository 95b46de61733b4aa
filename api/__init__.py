"""What people and other systems see: REST, the pages and the health of the system."""
