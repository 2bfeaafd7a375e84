"""The comparison of backends on one bundle.

`session.measure(configs, protocol, name=…)` takes every sample and returns a Record. `selection` has who takes part and
under which protocol: `selection.quick(bundle)` with `selection.QUICK`, `selection.full(bundle)` with `selection.FULL`.
`statistics`, `conclusion`, `text_tables` and `report` are made from the Record alone.
"""
