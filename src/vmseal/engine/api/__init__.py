"""oVirt's REST API, version 4: what real clients see of the engine. It holds no rule; the commands do."""
