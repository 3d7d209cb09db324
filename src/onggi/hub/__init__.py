"""A registry server: the pull side of the OCI distribution specification, v1.1.

::

    server.py    run it: in a thread (``serving``), or as ``python -m onggi.hub LAYOUT``
      app.py     requests, pages, errors: what the specification says, on aiohttp
        blobs.py, negotiation.py     byte ranges and sendfile · which manifest types a client takes
          storage.py                 the Protocol a registry's content is read through
            layout.py                an OCI image layout as such a storage

Reading is all it does for now. Whatever comes (pushing, authentication) is a wider ``Storage``
and a middleware of the application.
"""
