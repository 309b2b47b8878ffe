"""Where runs are kept: a folder that is pruned and exported, a team's database of the same runs."""
