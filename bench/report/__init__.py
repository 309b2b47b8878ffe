"""What people look at. Knows records and findings, neither the cluster nor a device."""
