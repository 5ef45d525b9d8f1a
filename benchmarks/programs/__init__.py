"""What is measured: each module is one program, run in a fresh interpreter of its own."""
