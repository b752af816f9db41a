"""Finding packages: documents made of the catalogue, and the engines that search them."""
