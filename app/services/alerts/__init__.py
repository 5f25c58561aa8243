"""How a message to the administrators leaves: one module for each kind of channel."""
