"""The contract between export and runtime: the manifest, units, probe points, and the parity that is demanded."""
