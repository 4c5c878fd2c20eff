"""Breaking catalogs on purpose: where, how, and what must still hold afterwards."""
