"""Imports of a catalogue that staff ask for in the console: a file, whose columns are chosen, checked, and worked through
by a job.
"""
