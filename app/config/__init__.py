"""What the product is told: the environment, the model catalogue and the texts for people."""
