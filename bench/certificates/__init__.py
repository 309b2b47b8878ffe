"""Certificates: what was found about a node, signed. Knows no accelerator and no cluster."""
