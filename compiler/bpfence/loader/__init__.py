"""The loader: an artefact in, a node that enforces it out. The only package that talks to bcc and netlink."""
