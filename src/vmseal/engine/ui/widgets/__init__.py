"""The parts that pages are made of. Data goes into them as properties, never as HTML or as templates."""
