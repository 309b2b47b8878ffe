"""From a suite and an inventory to measurements: plan, rounds, executors, agents, ranks, journal."""
