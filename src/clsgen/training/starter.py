"""What a process is told by the one that started it; loads nothing, for the starter's sake."""

STARTER = "CLSGEN_STARTER"
"""Environment variable of a process that another one started: the process id of that one."""
