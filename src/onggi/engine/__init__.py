"""The verbs. :class:`onggi.engine.engine.Engine` is the composition root."""
