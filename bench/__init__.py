"""The benchmarks behind `make bench`: what the frame costs over the bare database, or over a bare Flask route."""
