"""The comparison of backends: what is measured (session.py), kept (record.py), concluded (statistics.py), and shown."""
