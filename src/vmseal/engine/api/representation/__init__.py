"""oVirt's XML and JSON on one side, values on the other."""
