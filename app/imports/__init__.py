"""Imports of a catalogue that staff ask for in the console: a file is uploaded, its columns chosen, and a job checks it
and brings it in.
"""
