"""The bodies. Each is the Nautilus side of a decision: desk, ports, gate, orders, outcomes."""
