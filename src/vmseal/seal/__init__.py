"""The sealing library. Standard library only: it also runs inside the appliance."""
