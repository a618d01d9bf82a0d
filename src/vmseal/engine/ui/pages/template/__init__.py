"""One template: a tab in a module each, and each at an address of its own."""
