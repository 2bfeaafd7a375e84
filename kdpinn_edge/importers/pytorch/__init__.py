"""Networks of torch, live or in files, become Programs."""
