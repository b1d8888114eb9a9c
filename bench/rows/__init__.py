"""What is measured: a module for each group of lines, each with a `rows` that takes the bench and gives them."""
