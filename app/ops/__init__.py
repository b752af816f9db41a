"""The probes' door: is it alive, is it ready."""
