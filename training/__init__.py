"""How the model learns: corpora, the recipes, and how good it came out. Knows no database."""
