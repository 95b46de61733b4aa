"""Reading and signing: the editor of the study page, the page that signs, and REST for both."""
