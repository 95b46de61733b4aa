"""What a person on call sees: heartbeats, alarms, refusals."""
