"""What administrators are told: when, and how it is kept until it has been said."""
