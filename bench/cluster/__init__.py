"""From a suite and an inventory to measurements: plan, executors, agents, ranks, journal."""
