"""The dialogs: each in a module of its own, opened by a function that gets the visit."""
