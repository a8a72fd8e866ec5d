"""What drafters that need no model are built of: structures that remember text, and trees grown from them."""
