"""Ready manifests that start Ray on a cluster as a measurement wants it, and run a suite there."""
