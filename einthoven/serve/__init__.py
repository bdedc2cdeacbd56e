"""The platform: all of Einthoven over HTTP, for a page in the browser and for programs. `einthoven serve` starts it.

store.py     one data directory: files by their hash, an SQLite catalogue, migrations
access.py    who may do what: tokens, sessions, hosts and origins, what a browser may load
library.py   files that come in become ECGs, and what is known of an ECG
jobs.py      long work: a queue that outlives the server, worker processes, events
api.py       the routes; app.py puts all together
"""
