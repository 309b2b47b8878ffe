"""Submissions: runs packed into one signed archive that anybody can check. Knows no cluster."""
