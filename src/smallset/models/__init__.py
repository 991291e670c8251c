"""Networks by name, pretrained weights, and the table of layers."""
