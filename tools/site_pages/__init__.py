"""What the site of the documentation is made of beside the pages in docs/: see docs/conf.py."""
