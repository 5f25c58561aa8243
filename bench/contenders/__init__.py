"""What is measured, side by side: each a server that passes chat calls on to the mock upstream."""
