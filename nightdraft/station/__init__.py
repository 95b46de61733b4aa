"""All parts of Nightdraft on one machine: servers, child processes, and their supervisor."""
