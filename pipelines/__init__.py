"""How it is wired: the spec, the jobs, the two engines, the command line."""
