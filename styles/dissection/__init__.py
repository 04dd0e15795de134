"""Network Dissection: what each unit of a layer detects, and what the network loses without it."""
