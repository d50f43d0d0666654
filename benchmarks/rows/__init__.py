"""The sides of the rows: functions that make what is run."""
