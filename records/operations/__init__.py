"""What a person on call looks at: heartbeats, alarms, refusals, and the overview of it all."""
