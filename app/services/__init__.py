"""What the product does. Services know no Flask; collaborators come in through constructors."""
